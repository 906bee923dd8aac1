"""What a run starts from: the lanes of a sample sheet, or annotated cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nkscore import io, schema
from nkscore._run._contents import states_of
from nkscore._run._job import files_in_sheet, fingerprint
from nkscore.errors import SampleSheetError
from nkscore.io._source import files_of

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from nkscore._run._options import Options

_OF_CELLS: Final = (".h5ad", ".h5mu", ".zarr", ".rds", ".loom")


@dataclass(frozen=True, slots=True)
class Source:
    """A sample sheet, or a file of annotated cells."""

    path: Path

    @property
    def holds_cells(self) -> bool:
        """Whether the file holds cells, by its name."""
        return self.path.name.lower().removesuffix(".gz").endswith(_OF_CELLS)

    def check(self, options: Options) -> None:
        """Refuse options of cells for a sample sheet."""
        given = options["cells"]
        if not self.holds_cells and (given["mapping"] or given["keep"]):
            msg = (
                f"{self.path} is a sample sheet; a map of columns (--map) and calls to keep "
                f"(--keep) are for annotated cells ({', '.join(_OF_CELLS)}). Name the columns in "
                "the sheet."
            )
            raise SampleSheetError(msg)

    def fingerprint(self) -> list[Any]:
        """Describe all files from which cells are read by path, time and content."""
        if not self.holds_cells:
            return fingerprint(self.path)
        return [*states_of(files_of(self.path))]

    def files(self) -> list[Path]:
        """Return all files from which cells are read."""
        return list(files_of(self.path)) if self.holds_cells else files_in_sheet(self.path)

    def read(self, options: Options, store: Path | None = None) -> AnnData:
        """Load the cells, their counts into a file if ``store`` names one."""
        if self.holds_cells:
            return io.read_cells(self.path, store=store, **options["cells"])
        return io.read_coculture(self.path, store=store, **options["read"])


def calls_kept(adata: AnnData) -> list[str] | None:
    """Return the calls that came with annotated cells; None for lanes of a sheet."""
    record = adata.uns[schema.RECORD].get("io.read_cells")
    return None if record is None else str(record["kept"]).split()
