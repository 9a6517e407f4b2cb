"""Long-run variance of a dependent series: what the variance of its mean is n times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LARGEST_ROOT = 0.97
"""Autoregressive coefficients are kept below this, as Andrews and Monahan advise, so that recolouring stays finite."""


def long_run_variance(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """AR(1)-prewhitened quadratic-spectral estimate, Andrews' automatic bandwidth, times n/(n - 4).

    Args:
        series: shape (n, K), finite, n > 4; columns are independent problems. Centred here.

    Returns:
        Shape (K,), in squared units of the series, >= 0; 0 for a constant column.

    Source: Andrews 1991; Andrews and Monahan 1992; the factor as in Ledoit and Wolf 2008, section 3.1.
    """
    n = series.shape[0]
    if n <= 4:
        raise ValueError(f"{n} sessions are too few for a long-run variance")
    x = series - np.mean(series, axis=0)
    rho = first_autocorrelation(x)
    e = x[1:] - rho * x[:-1]
    root = first_autocorrelation(e)
    bandwidth = 1.3221 * (4.0 * root**2 / (1.0 - root) ** 4 * n) ** 0.2
    covariance = _autocovariances(e)
    lags = np.arange(1, covariance.shape[0], dtype=np.float64)[:, None]
    weights = _quadratic_spectral(lags, bandwidth)
    spectrum = covariance[0] + 2.0 * np.sum(weights * covariance[1:], axis=0)
    return np.asarray(np.maximum(spectrum, 0.0) / (1.0 - rho) ** 2 * n / (n - 4.0))


def first_autocorrelation(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares AR(1) coefficient of each column of x (n, K), within +-0.97; 0 for a column without variation."""
    power = np.sum(x[:-1] ** 2, axis=0)
    cross = np.sum(x[1:] * x[:-1], axis=0)
    rho = np.divide(cross, power, out=np.zeros_like(cross), where=power > 0.0)
    return np.asarray(np.clip(rho, -_LARGEST_ROOT, _LARGEST_ROOT))


def _autocovariances(e: NDArray[np.float64]) -> NDArray[np.float64]:
    m = e.shape[0]
    size = 1 << (2 * m - 1).bit_length()
    transform = np.fft.rfft(e, size, axis=0)
    power = transform.real**2 + transform.imag**2
    return np.asarray(np.fft.irfft(power, size, axis=0)[:m] / m)


def _quadratic_spectral(lags: NDArray[np.float64], bandwidth: NDArray[np.float64]) -> NDArray[np.float64]:
    """k(j/S), shape (lags, K); 0 everywhere for bandwidth 0, the limit of no correlation left to weigh."""
    ratio = np.divide(lags, bandwidth, out=np.full((lags.shape[0], bandwidth.shape[0]), np.inf), where=bandwidth > 1e-8)
    angle = 6.0 * np.pi * np.minimum(ratio, 1e12) / 5.0
    return np.asarray(3.0 / angle**2 * (np.sin(angle) / angle - np.cos(angle)))
