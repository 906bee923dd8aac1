"""Names of the kinds of arrays, matrices and levels in annotations.

For annotations only: modules import them under ``TYPE_CHECKING``, so that nothing is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from scipy import sparse

#: Values of any type.
Array: TypeAlias = "NDArray[Any]"
Floats: TypeAlias = "NDArray[np.float64]"
Floats32: TypeAlias = "NDArray[np.float32]"
Ints: TypeAlias = "NDArray[np.int64]"
Ints32: TypeAlias = "NDArray[np.int32]"
Bools: TypeAlias = "NDArray[np.bool_]"
#: Text or other Python objects, as pandas holds them.
Labels: TypeAlias = "NDArray[np.object_]"

CSR: TypeAlias = "sparse.csr_matrix | sparse.csr_array"
CSC: TypeAlias = "sparse.csc_matrix | sparse.csc_array"
#: Cells × genes in memory.
Matrix: TypeAlias = "Array | CSR | CSC"

#: Which cells of a matrix: positions in any order, or a mask.
Cells: TypeAlias = "Ints | Bools"
#: One number or bool per gene, or genes × sets.
Weights: TypeAlias = "Floats | Bools | CSR"

#: What tells conditions apart: a level of a column of ``obs``, or several.
Level: TypeAlias = "str | float"
Levels: TypeAlias = "str | float | Sequence[str] | Sequence[float]"
