#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges the files of tests/data/schemas by the JSON Schemas, as tests/data/schemas/expectations.json says; the readers
are judged by the same table in their own tests. And the files of the catalog, all of which are valid. Exit 77 (skipped) without the package jsonschema.
Usage: schemas_test.py REPOSITORY
"""
import json
import pathlib
import sys

try:
    import jsonschema
except ImportError:
    print("no package jsonschema: skipped")
    sys.exit(77)

repository = pathlib.Path(sys.argv[1])
schemas = {}
for path in (repository / "schemas").glob("*.schema.json"):
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    schemas[schema["$id"]] = schema


def validator(schema):
    try:
        from referencing import Registry, Resource
    except ImportError:  # before jsonschema 4.18
        resolver = jsonschema.RefResolver.from_schema(schema, store=schemas)
        return jsonschema.Draft202012Validator(schema, resolver=resolver)
    registry = Registry().with_resources((name, Resource.from_contents(of)) for name, of in schemas.items())
    return jsonschema.Draft202012Validator(schema, registry=registry)


folder = repository / "tests/data/schemas"
rows = json.loads((folder / "expectations.json").read_text())["files"]
wrong = 0
judged = set()
for row in rows:
    name = row["schema"].split("/")[0] + ".schema.json"
    judged.add(name)
    problems = list(validator(schemas[name]).iter_errors(json.loads((folder / row["file"]).read_text())))
    if (not problems) != row["valid"]:
        wrong += 1
        print(f"{row['file']}: {problems[0].message if problems else 'was accepted'}")
num_of_catalog = 0
for path in sorted((repository / "catalog").rglob("*.json")):
    content = json.loads(path.read_text())
    name = str(content.get("schema", "")).split("/")[0] + ".schema.json"
    if name not in schemas:  # config.json of Hugging Face
        continue
    num_of_catalog += 1
    for problem in validator(schemas[name]).iter_errors(content):
        wrong += 1
        print(f"{path.relative_to(repository)}: {problem.message[:200]}")
missing = sorted(set(schemas) - judged - {"quantity.schema.json"})
print(f"{len(rows)} files and {num_of_catalog} of the catalog judged, {wrong} otherwise than expected; schemas without a file: {', '.join(missing) or 'none'}")
sys.exit(1 if wrong else 0)
