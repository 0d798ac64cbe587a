"""Write a response matrix as a ROOT TH2, a pyhf workspace, or HEPData tables."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hist
import numpy as np
import numpy.typing as npt
import uproot

from coffea_iqn.files.atomic import check_new, whole_file, whole_folder
from coffea_iqn.files.output import write_json
from coffea_iqn.numerics.arrays import Bools, Doubles
from coffea_iqn.ranges import expect

MOST_OFF = 3.0  # factor between observed and expected jets that tells of a matrix not scaled to the data
STRENGTHS = 10.0  # pyhf's upper bound of a free normalisation


class Parts(NamedTuple):
    """Contents of a response matrix with G gen and M reco bins; the bins of a pair of axes are flattened.

    Attributes
    ----------
    inside: jets in gen and reco bins, (G, M).
    outside: jets in reco bins but in no gen bin, (M,).
    lost: jets in gen bins but in no reco bin, (G,).
    variances: variances of these three.
    """

    inside: Doubles
    outside: Doubles
    lost: Doubles
    variances: tuple[Doubles, Doubles, Doubles]

    @property
    def gen(self) -> Doubles:
        """All jets in gen bins, (G,)."""
        return np.asarray(self.inside.sum(axis=1) + self.lost)


def parts(matrix: hist.Hist) -> Parts:
    """Return the parts of a response matrix with one or two axes on each side."""
    gen, reco = (_within(axes) for axes in _sides(matrix))
    made = []
    for flat in (matrix.values(flow=True), matrix.variances(flow=True)):
        of = flat.reshape(len(gen), len(reco))
        made.append((of[gen][:, reco], of[~gen][:, reco].sum(axis=0), of[gen][:, ~reco].sum(axis=1)))
    return Parts(*made[0], made[1])


def write_root(matrix: hist.Hist, path: str | Path, *, name: str = "response", force: bool = False) -> None:
    """Write a TH2D with gen jets on x and reco jets on y; flow bins hold lost jets and jets outside the gen bins.

    The bins of a pair of axes are numbered from 0, with the last axis as the fast index, and all their flow bins are in
    the underflow.

    Raises
    ------
    FileExistsError: if the path exists, unless `force` is set.
    """
    check_new(Path(path), force=force)
    if matrix.ndim != 2:
        matrix = _numbered(matrix)
    with whole_file(Path(path)) as temporary, uproot.recreate(temporary) as file:
        file[name] = matrix


def workspace(matrix: hist.Hist, observed: npt.ArrayLike | None = None) -> dict[str, Any]:
    """Return a pyhf workspace with a signal strength for each gen bin, whose fit is the unfolding.

    The sample of a gen bin, such as gen_07, is its row of the matrix, with a free normalisation mu_07, which is 1 for
    the gen jets of the matrix. Jets outside the gen bins are the fixed sample "outside". The statistical uncertainty of
    the gen jets is not included. Normalisations are bounded by 0 and by 10 times the largest ratio of observed to
    expected jets in a reco bin, at least 10.

    Parameters
    ----------
    matrix: a response matrix.
    observed: counts in the reco bins, (M,), or a histogram of these bins; None for those expected from the matrix.

    Raises
    ------
    ValueError: if a gen bin has no jets in any reco bin, the counts do not match the reco bins, or their sum is more
        than `MOST_OFF` times that of the matrix, or less than its inverse.
    """
    of = parts(matrix)
    if isinstance(observed, hist.BaseHist):
        bins, ours = ([axis.edges.tolist() for axis in axes] for axes in (observed.axes, _sides(matrix)[1]))
        expect(bins == ours, f"observed: expected the reco bins of the matrix, {ours}, got {bins}")
        observed = observed.values().ravel()
    least = min(of.inside.min(), of.outside.min())
    expect(least >= 0.0, f"response: expected no negative number of jets in any bin, got {least:.3g}")
    expected = of.inside.sum(axis=0) + of.outside
    counts = expected if observed is None else np.asarray(observed, dtype=np.float64)
    fits = counts.shape == of.outside.shape and np.isfinite(counts).all() and (counts >= 0.0).all()
    expect(fits, f"observed: expected a count for each of the {len(of.outside)} reco bins, got {observed!r}")
    empty = np.flatnonzero(of.inside.sum(axis=1) <= 0.0)
    if len(empty):
        msg = f"response: expected jets of every gen bin in some reco bin, got none of gen bin {empty[0]}"
        raise ValueError(msg)
    total, observed_total = expected.sum(), counts.sum()
    fits = not observed_total or total / MOST_OFF <= observed_total <= total * MOST_OFF
    got = f"got {observed_total:.4g} observed and {total:.4g} in the matrix: scale the matrix, matrix * f"
    expect(fits, f"response: expected a matrix with the normalisation of the data, {got}")
    ratios = counts[expected > 0.0] / expected[expected > 0.0]
    bounds = [[0.0, STRENGTHS * max(1.0, float(ratios.max()))]]
    digits = len(str(len(of.inside) - 1))  # with leading zeros, because pyhf sorts parameters by name
    numbers = [f"{k:0{digits}d}" for k in range(len(of.inside))]
    samples: list[dict[str, Any]] = [
        {
            "name": f"gen_{k}",
            "data": row.tolist(),
            "modifiers": [{"name": f"mu_{k}", "type": "normfactor", "data": None}],
        }
        for k, row in zip(numbers, of.inside, strict=True)
    ]
    parameters = [{"name": f"mu_{k}", "bounds": bounds} for k in numbers]
    if of.outside.any():
        samples.append({"name": "outside", "data": of.outside.tolist(), "modifiers": []})
    return {
        "version": "1.0.0",
        "channels": [{"name": "reco", "samples": samples}],
        "observations": [{"name": "reco", "data": counts.tolist()}],
        "measurements": [{"name": "unfolding", "config": {"poi": f"mu_{numbers[0]}", "parameters": parameters}}],
    }


def write_workspace(
    matrix: hist.Hist, path: str | Path, observed: npt.ArrayLike | None = None, *, force: bool = False
) -> None:
    """Write `workspace` as JSON, with the errors of `workspace` and `write_root`."""
    made = workspace(matrix, observed)
    check_new(Path(path), force=force)
    with whole_file(Path(path)) as temporary:
        write_json(made, temporary)


def write_hepdata(matrix: hist.Hist, path: str | Path, *, force: bool = False) -> None:
    """Write HEPData YAML files with three tables: the matrix, jets outside the gen bins, and all jets in gen bins.

    Raises
    ------
    FileExistsError: if the path exists, unless `force` is set.
    ValueError: if HEPData's validator rejects the tables.
    """
    from hepdata_lib import Table, Uncertainty, Variable
    from hepdata_validator.full_submission_validator import FullSubmissionValidator

    check_new(Path(path), force=force)
    of, (gen, reco) = parts(matrix), _sides(matrix)
    content = {
        "Response matrix": (matrix.axes, of.inside, of.variances[0], "Expected number of jets in gen and reco bins"),
        "Outside": (reco, of.outside, of.variances[1], "Reco jets that match no gen jet, or one outside the gen bins"),
        "Gen jets": (gen, of.gen, None, "All jets in gen bins, including those in no reco bin"),
    }
    with whole_folder(Path(path)) as folder:
        for name, (axes, values, variances, description) in content.items():
            table = Table(name)
            table.description, table.location = description, "Response matrix of an emulated detector"
            some = np.flatnonzero(values)  # HEPData tables leave out empty bins
            for axis, edges in zip(axes, _bins_of(axes), strict=True):
                table.add_variable(Variable(axis.label.replace("$", ""), values=[edges[k] for k in some]))
            jets = Variable("Jets", is_independent=False, is_binned=False, values=values.ravel()[some].tolist())
            if variances is not None:
                spread = Uncertainty("gen jets, statistical")
                spread.values = np.sqrt(variances).ravel()[some].tolist()
                jets.add_uncertainty(spread)
            table.add_variable(jets)
            table.write_output(str(folder))
        validator = FullSubmissionValidator()
        if not validator.validate(directory=str(folder)):
            complaints = [str(one) for several in validator.get_messages().values() for one in several]
            msg = f"HEPData: expected valid tables, got {'; '.join(complaints)}"
            raise ValueError(msg)


def _sides(matrix: hist.Hist) -> tuple[Sequence[Any], Sequence[Any]]:
    half, names = matrix.ndim // 2, [str(axis.name) for axis in matrix.axes]
    sides = ["gen"] * half + ["reco"] * half
    fits = half > 0 and sides == [name.partition("_")[0] for name in names]
    expect(fits, f"response: expected axes gen and reco, or as many gen_... and reco_..., got {', '.join(names)}")
    return tuple(matrix.axes)[:half], tuple(matrix.axes)[half:]


def _within(axes: Sequence[Any]) -> Bools:
    """Return which of the flattened bins of these axes are not flow bins."""
    return np.pad(np.ones([axis.size for axis in axes], dtype=bool), 1).ravel()


def _bins_of(axes: Sequence[Any]) -> list[list[tuple[float, float]]]:
    """Return the edges of all flattened bins along each axis, with the last axis as the fast index."""
    of_each = [list(itertools.pairwise(axis.edges.tolist())) for axis in axes]
    return [list(column) for column in zip(*itertools.product(*of_each), strict=True)]


def _numbered(matrix: hist.Hist) -> hist.Hist:
    """Return a matrix of pairs of axes with one axis of bin numbers on each side."""
    of = parts(matrix)
    sizes = zip(("gen", "reco"), of.inside.shape, strict=True)
    axes = [hist.axis.Integer(0, n, name=side, label=f"{side} bin") for side, n in sizes]
    flat = hist.Hist(*axes, storage=hist.storage.Weight())
    view = flat.view(flow=True)
    for field, (inside, outside, lost) in (("value", of[:3]), ("variance", of.variances)):
        view[field][1:-1, 1:-1], view[field][0, 1:-1], view[field][1:-1, 0] = inside, outside, lost
    return flat
