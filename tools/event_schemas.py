"""JSON schemas of the events, from the models in `imagelake.events`: `python -m tools.event_schemas [--check]`."""

import argparse
import json
from pathlib import Path

from imagelake.events import PUBLISHED, Event

SCHEMAS = Path(__file__).parent.parent / "events/schemas"
BASE = "https://json-schema.org/draft/2020-12/schema"


def schema_of(event: type[Event]) -> str:
    """The schema of the detail of an event, as its file has it."""
    made = event.model_json_schema(mode="serialization")
    # What has a default is always there; null is never written.
    made["required"] = [*(name for name, field in event.model_fields.items() if field.default is not None)]
    for name, entry in made["properties"].items():
        if {"type": "null"} in entry.get("anyOf", ()):
            [kind] = [one for one in entry["anyOf"] if one != {"type": "null"}]
            made["properties"][name] = kind
        for said in ("default", "title"):
            made["properties"][name].pop(said, None)
    del made["additionalProperties"]  # fields may be added without another version
    return json.dumps({"$schema": BASE, **made}, indent=2) + "\n"


def main() -> int:
    """Write the files, or compare them; the exit code is 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    wanted = {SCHEMAS / f"{event.detail_type()}.json": schema_of(event) for event in PUBLISHED}
    if is_check:
        found = {file: file.read_text(encoding="utf-8") for file in SCHEMAS.glob("*.json")}
        if differing := sorted(file.name for file, _ in wanted.items() ^ found.items()):
            print(f"Differs from imagelake.events: {', '.join(dict.fromkeys(differing))}. Run make schemas.")
            return 1
        return 0
    SCHEMAS.mkdir(exist_ok=True)
    for file, text in wanted.items():
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
