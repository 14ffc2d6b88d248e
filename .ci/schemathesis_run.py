"""Schemathesis over openapi.yaml and a live stack: valid and broken requests, in isolation and in sequence.

    schemathesis_run.py --base-url http://127.0.0.1:8080/v1 --api-key KEY --client .../cocoon

Inference is paid with the given key. Keys are made and revoked with the session of a wallet of its own, made for this
run, so that no key that anybody needs is revoked. COCOON_MODEL and COCOON_EMBEDDING_MODEL name the models. The exit code
is Schemathesis's own: 0 if nothing failed.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


def session(client, base_url, home):
    """A fresh wallet's session."""
    for arguments in (["wallet", "create"], ["login"]):
        command = [client, "--home", home, "--base-url", base_url, *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "COCOON_"))}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=30)
    return json.loads((pathlib.Path(home) / "profile.json").read_text())["token"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default=os.environ.get("OPENAI_BASE_URL"), help="ends in /v1")
    parser.add_argument("--api-key", default=os.environ.get("OPENAI_API_KEY"))
    parser.add_argument("--client", default="cocoon", help="the program cocoon")
    parser.add_argument("--max-examples", type=int, help="cases of an operation and phase, in place of the configured")
    arguments, more = parser.parse_known_args()

    with tempfile.TemporaryDirectory(prefix="cocoon-schemathesis-") as folder:
        environment = dict(
            os.environ,
            COCOON_KEY=arguments.api_key,
            COCOON_SESSION=session(arguments.client, arguments.base_url, f"{folder}/wallet"),
            COCOON_HOOKS=str(HERE / "schemathesis_hooks.py"),
            PYTHONPATH=str(HERE),
            NO_COLOR="1",
        )
        environment.setdefault("COCOON_MODEL", "tiny-demo")
        environment.setdefault("COCOON_EMBEDDING_MODEL", "tiny-embed")
        report = pathlib.Path(folder) / "report.ndjson"
        program = pathlib.Path(sys.executable).with_name("schemathesis")
        command = [program, "--config-file", HERE / "schemathesis.toml", "run", ROOT / "openapi.yaml"]
        command += ["--url", arguments.base_url.removesuffix("/v1"), "--report-ndjson-path", report]
        if arguments.max_examples:
            command += ["--max-examples", str(arguments.max_examples)]
        started = time.monotonic()
        code = subprocess.run([*command, *more], env=environment, cwd=folder, check=False).returncode
        print(f"schemathesis: exit code {code} after {time.monotonic() - started:.0f} s", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
