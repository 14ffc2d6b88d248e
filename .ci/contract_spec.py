"""openapi.yaml as a judge of live traffic: requests, whole answers, and every event of a stream.

An operation is found by method and path; what is judged is the body and the headers that it documents for that status.
"""

import json
import re

import jsonschema_rs
import yaml

BASE = "urn:openapi"
METHODS = ("get", "put", "post", "delete", "patch")
# Messages of one body; a body that is wrong in a hundred places is wrong.
ERRORS_MAX = 5


class Spec:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.document = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self.routes = [
            (method, re.compile(pattern(path)), path, operation)
            for path, item in self.document["paths"].items()
            for method, operation in item.items()
            if method in METHODS
        ]
        # A path without parameters is more specific than one with them.
        self.routes.sort(key=lambda route: route[2].count("{"))
        self.validators = {}

    def operation(self, method, path):
        for candidate, matcher, _, operation in self.routes:
            if candidate == method.lower() and matcher.fullmatch(path):
                return operation
        return None

    def resolve(self, value):
        while isinstance(value, dict) and "$ref" in value:
            found = self.document
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found[part.replace("~1", "/").replace("~0", "~")]
            value = found
        return value

    def errors(self, schema, value):
        """What is wrong with a value, in words; nothing where it fits."""
        schema = self.narrow(schema, value)
        key = schema["$ref"] if "$ref" in schema else id(schema)
        if key not in self.validators:
            # References in it start at the document's root.
            root = {"allOf": [schema], "components": self.document["components"]}
            self.validators[key] = jsonschema_rs.Draft202012Validator(root)
        found = []
        for error in self.validators[key].iter_errors(value):
            place = "/".join(str(part) for part in error.instance_path)
            found.append(f"at /{place}: {error.message[:300]}")
            if len(found) == ERRORS_MAX:
                break
        return found

    def narrow(self, schema, value):
        """The branch that the discriminator names, so that a complaint is about that branch."""
        resolved = self.resolve(schema)
        discriminator = resolved.get("discriminator")
        if not discriminator or not isinstance(value, dict):
            return schema
        target = discriminator.get("mapping", {}).get(value.get(discriminator["propertyName"]))
        return {"$ref": target} if target else schema

    def request_errors(self, operation, body):
        content = self.resolve(operation.get("requestBody", {})).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        return self.errors(schema, body) if schema else []

    def response(self, operation, status):
        found = operation["responses"].get(str(status))
        return None if found is None else self.resolve(found)

    def header_errors(self, response, headers):
        return [
            f"the header {name} is missing"
            for name, header in response.get("headers", {}).items()
            if self.resolve(header).get("required") and name.lower() not in headers
        ]

    def body_errors(self, response, media_type, body):
        content = response.get("content", {}).get(media_type)
        if content is None:
            return [f"an answer of type {media_type} is not documented"]
        if "json" not in media_type:
            return []
        try:
            value = json.loads(body)
        except ValueError as error:
            return [f"the body is no JSON: {error}"]
        return self.errors(content["schema"], value)

    def event_schema(self, response):
        """The schema of a parsed `data:`, and whether events have names."""
        content = response.get("content", {}).get("text/event-stream")
        if content is None:
            return None
        item = self.resolve(content["itemSchema"])
        data = self.resolve(item["properties"]["data"])
        for branch in data.get("anyOf", [data]):
            if "contentSchema" in branch:
                return branch["contentSchema"]
        return None


def pattern(path):
    """A template as a regular expression; the last parameter may contain slashes, as model names do."""
    parts = re.split(r"(\{[^}]+\})", path)
    return "".join(
        (".+" if part == "{id}" and path.startswith("/v1/models/") else "[^/]+") if part.startswith("{") else re.escape(part)
        for part in parts
    )
