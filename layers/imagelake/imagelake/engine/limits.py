"""How much one image, its scripts and their output may take."""

from dataclasses import dataclass

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """The limits of one run.

    `pipelines.yaml` gives those from `max_bytes` to `memory_mb`. The defaults are for programs that use the engine
    alone.

    Args:
        max_bytes: of the file.
        max_pixels: of the largest frame.
        max_side: of any frame, in pixels.
        max_frames: frames, pages or images in one file.
        max_total_pixels: over all frames.
        max_scans: in one JPEG; each scan of a progressive JPEG walks the whole picture.
        memory_mb: address space a script and its image may take, beyond what the warm process has already.
        max_derivatives: images returned by all scripts together.
        max_output_bytes: of everything returned; also of any file a script writes.
        max_metadata_bytes: of the metadata of one script as JSON.
        max_catalog_bytes: of what all scripts returned, as the workflow carries it to the catalog: JSON within JSON. A
            step of a workflow takes 256 KiB, and the rest of an image's row has to fit beside it.
        max_open_files: of the child process.
        formats: accepted formats, by Pillow's names.
    """

    max_bytes: int = 25 * MEGABYTE
    max_pixels: int = 50_000_000
    max_side: int = 16_384
    max_frames: int = 60
    max_total_pixels: int = 100_000_000
    max_scans: int = 100
    memory_mb: int = 512
    max_derivatives: int = 16
    max_output_bytes: int = 32 * MEGABYTE
    max_metadata_bytes: int = 65_536
    max_catalog_bytes: int = 200_000
    max_open_files: int = 64
    formats: tuple[str, ...] = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")
