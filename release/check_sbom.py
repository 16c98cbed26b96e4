"""Whether an SBOM keeps to the schema of CycloneDX: `python release/check_sbom.py FILE`."""

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(Path(sys.argv[1]).read_text(encoding="utf-8"))
if fault is not None:
    sys.exit(f"{sys.argv[1]}: {fault}")
