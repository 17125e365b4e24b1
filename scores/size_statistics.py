"""Size-frequency statistics of landslide inventories: distributions fitted by maximum likelihood, and magnitudes.

Areas are in m2 and above 0. All exponents are those of the tail of the density, p(A) ~ A^-exponent, so that the three
distributions can be compared.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # which loads its parts on first use

FEWEST = 30  # landslides needed for a fit: with 30, the interval of an exponent is already about 2 wide
FEWEST_IN_TAIL = 10  # landslides that the tail of a power law needs
FEWEST_UNLIKE = 10  # unlike areas needed for a fit: equal circles around points, or cells of a grid, have no sizes
DIGITS = 4  # of an area that count: buffers of one radius differ in the sixth, by the curvature of the Earth
CANDIDATES = 300  # number of areas, at most, that are tried as the start of the power law, evenly spread over the ranks
LEVELS = (2.5, 97.5)  # percentiles of an interval of 95 %

# Of Tanyas et al. 2018, doi 10.1002/esp.4359, from the authors' code (github.com/usgs/landslides-mLS, mLS.m).
MLS_EDGES = 2 * 1.2 ** np.arange(120)  # m2, bins of equal width in logarithms
NORTHRIDGE_AREA = 4.876599623713225e4  # m2, midpoint of the power law of the reference inventory, Northridge 1994
NORTHRIDGE_DENSITY = 8.364725347860417e-4  # landslides per m2 at that midpoint
NORTHRIDGE_LANDSLIDES = 11111  # number of landslides of that inventory: its mLS is the logarithm of it


class UnknownFigure(Exception):
    """A figure that cannot be computed from an inventory, with the reason as its text."""


@dataclass(frozen=True)
class InverseGamma:
    """Three-parameter inverse gamma distribution of Malamud et al. 2004, doi 10.1002/esp.1064, equation 3.

    p(A) = 1 / (a Gamma(rho)) [a / (A - s)]^(rho + 1) exp[-a / (A - s)], for A > s. a and s are in m2.
    """

    rho: float
    a: float
    s: float
    parameters = 3  # that are fitted

    @classmethod
    def fit(cls, areas):
        """Fit by maximum likelihood. Raises UnknownFigure if the likelihood has no maximum.

        For a known s, 1 / (A - s) has a gamma distribution, and one equation gives its shape. So only s is searched, by
        its distance from the smallest area. At distance 0 the likelihood of any sample is infinite: that is no fit.
        """
        smallest, spread = areas.min(), np.median(areas)

        def fit_at(log_distance):
            inverse = 1 / (areas - smallest + np.exp(log_distance))
            mean = inverse.mean()
            rho = _gamma_shape(np.log(mean) - np.log(inverse).mean())
            return cls(rho, rho / mean, smallest - np.exp(log_distance))

        def loss(log_distance):
            return -fit_at(log_distance).log_density(areas).sum()

        tried = np.linspace(np.log(1e-3 * spread), np.log(1e3 * spread), 40)
        best = int(np.argmin([loss(value) for value in tried]))
        if best in (0, len(tried) - 1):
            raise UnknownFigure("its likelihood has no maximum: the areas have no rollover and tail of this shape")
        result = scipy.optimize.minimize_scalar(loss, bounds=tried[[best - 1, best + 1]], method="bounded")
        return fit_at(result.x)

    def log_density(self, areas):
        """Return log p(A), A in m2, above s."""
        scaled = self.a / (areas - self.s)
        return (self.rho + 1) * np.log(scaled) - scaled - np.log(self.a) - scipy.special.gammaln(self.rho)

    def cdf(self, areas):
        """Return the probability of an area up to A."""
        return scipy.special.gammaincc(self.rho, self.a / np.maximum(areas - self.s, np.finfo(float).tiny))

    def figures(self):
        """Return {name: value} of the parameters, the exponent of the tail, and the rollover, which is the mode."""
        return {
            "rho": self.rho,
            "a_m2": self.a,
            "s_m2": self.s,
            "tail_exponent": self.rho + 1,
            "rollover_m2": self.a / (self.rho + 1) + self.s,
        }


def _gamma_shape(gap):
    """Return the shape rho of a gamma distribution: log(rho) - digamma(rho) = gap = log(mean) - mean(log).

    Raises UnknownFigure if the gap is lost in rounding; SciPy's polygamma does not return for such a shape.
    """
    if gap < 1e-12:
        raise UnknownFigure("the areas are all but the same")
    rho = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)  # within 1.5 %; Newton's steps do the rest
    for _ in range(4):
        rho -= (np.log(rho) - scipy.special.digamma(rho) - gap) / (1 / rho - scipy.special.polygamma(1, rho))
    return rho


@dataclass(frozen=True)
class DoublePareto:
    """Double Pareto distribution of Stark and Hovius 2001, doi 10.1029/2000GL008527, between c and m.

    Its cumulative is [1 + (A / t)^-alpha]^(-beta / alpha), cut at c and m and scaled to 1 between them. The density
    rises as A^(beta - 1) below t and falls as A^-(alpha + 1) above it. t, c and m are in m2.
    """

    alpha: float
    beta: float
    t: float
    c: float
    m: float
    parameters = 5  # that are fitted; c and m are the ends of the areas

    @classmethod
    def fit(cls, areas, start=None):
        """Fit alpha, beta and t by maximum likelihood; c and m are the smallest and the largest area.

        start: DoublePareto to start from, with c and m to keep. Raises UnknownFigure if the likelihood has no maximum.
        """
        ends = (start.c, start.m) if start else (areas.min(), areas.max())

        def loss(logarithms):
            return -cls(*np.exp(logarithms), *ends).log_density(areas).mean()

        bounds = [(np.log(0.05), np.log(20)), (np.log(0.05), np.log(20)), np.log(ends)]
        first = [start.alpha, start.beta, start.t] if start else [1.5, 1.5, np.median(areas)]
        options = {"xatol": 1e-5, "fatol": 1e-9}
        result = scipy.optimize.minimize(loss, np.log(first), method="Nelder-Mead", bounds=bounds, options=options)
        if any(min(x - low, high - x) < 1e-3 for x, (low, high) in zip(result.x, bounds, strict=True)):
            raise UnknownFigure("its likelihood has no maximum: the areas do not rise and fall as two power laws")
        return cls(*map(float, np.exp(result.x)), *map(float, ends))

    def _log_uncut(self, areas):
        return -self.beta / self.alpha * np.logaddexp(0, -self.alpha * np.log(areas / self.t))

    def log_density(self, areas):
        """Return log p(A), A in m2, from c to m."""
        logarithms = np.log(areas / self.t)
        fall = (1 + self.beta / self.alpha) * np.logaddexp(0, -self.alpha * logarithms)
        low, high = self._log_uncut(np.array([self.c, self.m]))
        between = high + np.log1p(-np.exp(low - high))
        return np.log(self.beta / self.t) - (self.alpha + 1) * logarithms - fall - between

    def cdf(self, areas):
        """Return the probability of an area up to A."""
        low, high, uncut = (
            np.exp(self._log_uncut(value)) for value in (self.c, self.m, np.clip(areas, self.c, self.m))
        )
        return (uncut - low) / (high - low)

    def figures(self):
        """Return {name: value} of the parameters and the rollover; without a rise (beta up to 1) it is at c."""
        rise = max(self.beta - 1, 0) / (self.alpha + 1)
        return {
            "alpha": self.alpha,
            "beta": self.beta,
            "t_m2": self.t,
            "tail_exponent": self.alpha + 1,
            "rollover_m2": max(self.t * rise ** (1 / self.alpha), self.c),
        }


@dataclass(frozen=True)
class PowerLaw:
    """Power law of the tail, p(A) = (exponent - 1) / xmin (A / xmin)^-exponent for A >= xmin (in m2).

    Clauset, Shalizi and Newman 2009, doi 10.1137/070710111.
    """

    exponent: float
    xmin: float
    distance: float  # Kolmogorov-Smirnov distance of the areas from xmin on
    in_tail: int  # number of these areas

    @classmethod
    def fit(cls, areas, candidates=None):
        """Fit the exponent by maximum likelihood to the areas from xmin on; xmin is the area with the least distance.

        candidates: number of areas, at most, that are tried as xmin, evenly spread over the ranks; None: all. Raises
        UnknownFigure if no tail has FEWEST_IN_TAIL areas that are not all the same.
        """
        logarithms = np.log(np.sort(areas))
        starts = np.unique(np.searchsorted(logarithms, logarithms[: max(len(areas) - FEWEST_IN_TAIL + 1, 0)]))
        if candidates and len(starts) > candidates:
            starts = starts[np.linspace(0, len(starts) - 1, candidates).round().astype(int)]
        sums = np.cumsum(logarithms[::-1])[::-1]
        laws = []
        for start in starts:
            count = len(areas) - int(start)
            excess = sums[start] - count * logarithms[start]
            if excess > 1e-9 * count:  # otherwise all areas of the tail are the same
                exponent = 1 + count / excess
                expected = -np.expm1((1 - exponent) * (logarithms[start:] - logarithms[start]))
                laws.append(cls(exponent, np.exp(logarithms[start]), ks_distance(expected), count))
        if not laws:
            raise UnknownFigure(f"no tail of {FEWEST_IN_TAIL} landslides or more has unlike areas")
        return min(laws, key=lambda law: law.distance)

    def log_density(self, areas):
        """Return log p(A) among the areas from xmin on, A in m2."""
        return np.log((self.exponent - 1) / self.xmin) - self.exponent * np.log(areas / self.xmin)

    def cdf(self, areas):
        """Return the probability of an area up to A among those from xmin on."""
        return -np.expm1((1 - self.exponent) * np.log(np.maximum(areas / self.xmin, 1)))

    def figures(self):
        """Return {name: value} of the parameters."""
        return {"tail_exponent": self.exponent, "xmin_m2": self.xmin}


def ks_distance(expected):
    """Return the Kolmogorov-Smirnov distance of a sample from the cumulative probabilities of its sorted values."""
    ranks = np.arange(len(expected) + 1) / len(expected)
    return max((ranks[1:] - expected).max(), (expected - ranks[:-1]).max())


def goodness(fit, areas):
    """Return how well a distribution fits all areas: log_likelihood, aic and ks_distance."""
    likelihood = fit.log_density(areas).sum()
    return {
        "log_likelihood": likelihood,
        "aic": 2 * fit.parameters - 2 * likelihood,
        "ks_distance": ks_distance(fit.cdf(np.sort(areas))),
    }


def plausibility(areas, draws, rng):
    """Yield for each of some drawn inventories whether its distance from its power law is at least that of `areas`.

    The mean of these values is the p-value of Clauset et al. 2009, section 4.1. An inventory is drawn as if the power
    law held: its areas below xmin from the observed areas below xmin, the others from the law.
    """
    law = PowerLaw.fit(areas, CANDIDATES)
    below = areas[areas < law.xmin]
    for _ in range(draws):
        count = rng.binomial(len(areas), law.in_tail / len(areas))
        tail = law.xmin * (1 - rng.random(count)) ** (-1 / (law.exponent - 1))
        drawn = np.concatenate([tail, rng.choice(below, len(areas) - count)])
        yield PowerLaw.fit(drawn, CANDIDATES).distance >= law.distance


def landslide_event_magnitude(areas, law):
    """Compute the magnitude mLS of Tanyas et al. 2018, doi 10.1002/esp.4359.

    It is the log10 of the height of the tail relative to a reference, the inventory of Northridge 1994. An inventory
    with the tail of the reference has the mLS log10(11111) = 4.05. The height of the tail is read at xmin of its power
    law, so smaller landslides do not matter.

    Raises:
        UnknownFigure: no landslide has the size of the bin at xmin.
    """
    index = int(np.abs(MLS_EDGES - law.xmin).argmin())
    low, high = MLS_EDGES[index], 1.2 * MLS_EDGES[index]
    count = np.count_nonzero((areas >= low) & (areas < high))
    if not count:
        raise UnknownFigure(f"no landslide has {low:.3g} to {high:.3g} m2, where the height of the tail is read")
    width = np.diff(MLS_EDGES, prepend=0)[index]  # of the bin below, as in the program
    density = count / width / NORTHRIDGE_DENSITY
    return float(np.log10(NORTHRIDGE_LANDSLIDES * density) + law.exponent * np.log10(law.xmin / NORTHRIDGE_AREA))


def fit_all(areas, start=None):
    """Fit all distributions to an inventory.

    Args:
        areas: N areas in m2.
        start: {name: fit} of the inventory that `areas` were drawn from: only these are fitted, and faster.

    Returns:
        ({name: fit}, {name: {figure: value}}, {figure or name: why it is unknown}); the names are inverse_gamma,
        double_pareto and power_law, which has mLS among its figures.
    """
    if len(areas) < FEWEST:
        return {}, {}, {"distributions": f"{len(areas)} landslides are too few: at least {FEWEST} are needed"}
    unlike = len(np.unique([float(f"{area:.{DIGITS}g}") for area in areas]))
    if not start and unlike < FEWEST_UNLIKE:
        words = "all areas are the same" if unlike == 1 else f"the areas have {unlike} values only"
        return {}, {}, {"distributions": f"{words}, as those of buffered points or cells of a grid"}
    fit_functions = {
        "inverse_gamma": lambda: InverseGamma.fit(areas),
        "double_pareto": lambda: DoublePareto.fit(areas, start and start["double_pareto"]),
        "power_law": lambda: PowerLaw.fit(areas, CANDIDATES if start else None),
    }
    fits, figures, unknown = {}, {}, {}
    for name in start or fit_functions:
        try:
            fits[name] = fit_functions[name]()
            figures[name] = fits[name].figures()
            if name == "power_law":
                figures[name]["mLS"] = landslide_event_magnitude(areas, fits[name])
        except UnknownFigure as reason:
            unknown["mLS" if name in fits else name] = str(reason)
    return fits, figures, unknown


def resampled(areas, fits, draws, rng):
    """Yield the figures, as `fit_all` returns them, of inventories drawn from the areas with replacement."""
    for _ in range(draws):
        yield fit_all(rng.choice(areas, len(areas)), fits)[1]


def intervals(drawn):
    """Return {name: {figure: [low, high]}}: the middle 95 % of each figure over resampled inventories.

    A figure that is known for fewer than half of them has no interval.
    """
    ends = {}
    for name in ("inverse_gamma", "double_pareto", "power_law"):
        fitted = [figures[name] for figures in drawn if name in figures]
        for figure in {figure: None for figures in fitted for figure in figures}:  # in their order
            values = [figures[figure] for figures in fitted if figure in figures]
            if 2 * len(values) >= len(drawn):
                ends.setdefault(name, {})[figure] = np.percentile(values, LEVELS).tolist()
    return ends


def histogram(areas, bins_per_decade=10):
    """Count areas in bins of equal width in logarithms.

    Returns:
        (edges in m2, counts, low, high): the last two are the ends of the 95 % interval of each count, as that of a
        Poisson distribution (Garwood 1936, doi 10.2307/2333958).
    """
    first, last = (np.floor(np.log10(end) * bins_per_decade) for end in (areas.min(), areas.max()))
    edges = 10 ** (np.arange(first, last + 2) / bins_per_decade)
    bins = np.searchsorted(edges, areas, side="right") - 1
    bins = np.clip(bins, 0, len(edges) - 2)  # the logarithm of an area at the edge of a bin may be rounded past it
    counts = np.bincount(bins, minlength=len(edges) - 1)
    low, high = (level / 100 for level in LEVELS)
    lowest = scipy.special.gammaincinv(np.maximum(counts, 1), low) * (counts > 0)
    return edges, counts, lowest, scipy.special.gammaincinv(counts + 1, high)
