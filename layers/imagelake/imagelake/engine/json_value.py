"""JSON as a type. Without Pydantic, which the warm process has no use for and would import at every cold start."""

type Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
