"""ml_secondary, kind `gradient_boosting`: boosted trees on lagged features of all instruments together, trained walk-forward.

    target    y(s, i) = (p(s + h) - p(s)) / |p(s)| / (v(s) sqrt(h)), v the volatility of a session, clipped to +-TARGET_LIMIT
    model     f fitted to y by squared error; b the slope of y on f through 0 in the fold, clipped to [0, 1]; e = y - b f its errors there
    at t      expected return = b f v(t) sqrt(h),  predicted volatility = v(t) sqrt(h)
              confidence = 1 - half the share of e that are larger than b f: of those, one in two turns the sign

One regression, not a classifier beside it: the sign and the size of an expected return then cannot contradict each other, and what a
probability of the sign needs, the spread of the errors, is measured where the model has not trained. A model that the fold shows to be
worth nothing has b = 0, expects nothing and so says nothing.

Purge and embargo: whatever is done at session t knows row s only if s + h < t - embargo. That holds for the rows of a fit at t, and for
its training rows against the first session of its fold. Fits stand on a schedule counted from the first session of the panel, so that
what is appended to it changes no fit before.
"""

from policyengine.signals.ml_secondary.engine import opinions

__all__ = ["opinions"]
