"""Checks a TOML file, which is standard input, against the JSON schema in the file that is given."""

import json
import sys
import tomllib

import fastjsonschema

validate = fastjsonschema.compile(json.load(open(sys.argv[1])))
try:
    validate(tomllib.loads(sys.stdin.read()))
except fastjsonschema.JsonSchemaValueException as error:
    sys.exit(error.message)
