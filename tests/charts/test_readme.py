"""Every value is described, for people and for editors."""

from __future__ import annotations

import json

from tests.charts.chart import CHART, EXAMPLES


def test_the_schema_describes_what_the_readme_lists() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    readme = (CHART / "README.md").read_text()
    assert schema["properties"]["server"]["properties"]["clients"]["description"] in readme
    assert all(f"examples/{example}/values.yaml" in readme for example in EXAMPLES)


def test_no_object_of_the_schema_is_open_but_those_that_pass_on() -> None:
    """What is passed on to Kubernetes, or to the programs, is checked there."""
    passed_on = {"global", "behavior", "affinity", "tolerations", "parentRefs", "requests", "limits"}
    passed_on |= {"extraEnv", "extraVolumes", "extraVolumeMounts", "initContainers", "extraContainers", "extraEnvFrom"}
    passed_on |= {"topologySpreadConstraints", "options", "extraObjects", "relabelings", "metricRelabelings"}

    def open_objects(schema: object, name: str) -> list[str]:
        if isinstance(schema, list):
            return [found for each in schema for found in open_objects(each, name)]
        if not isinstance(schema, dict):
            return []
        own = [name] if schema.get("type") == "object" and "additionalProperties" not in schema else []
        below = []
        for key, each in schema.items():
            if key in ("properties", "definitions"):
                below += [found for child, inner in each.items() for found in open_objects(inner, child)]
            elif key in ("items", "allOf", "anyOf", "oneOf", "additionalProperties"):
                below += open_objects(each, name)
        return own + below

    assert set(open_objects(json.loads((CHART / "values.schema.json").read_text()), "values")) <= passed_on
