"""The manifests of the operations page, held to their schemas, to the tools that read them and to the options."""

import configparser
import json
import re
import shlex
import shutil
import stat
import subprocess
import sysconfig
from importlib import resources
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from tree import ROOT, name

from trilithon.cli.control import ctl
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.options import TABLE, Options

pytestmark = pytest.mark.once

MANIFESTS = ROOT / "docs" / "manifests"
UNITS = sorted((MANIFESTS / "systemd").glob("*.service")) + sorted((MANIFESTS / "systemd").glob("*.socket"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
KUBERNETES = sorted((MANIFESTS / "kubernetes").glob("*.yaml"))
COMPOSE = MANIFESTS / "docker" / "compose.yaml"
DOCKERFILE = MANIFESTS / "docker" / "Dockerfile"
PAGE = ROOT / "docs" / "operations.md"

# Beyond its own time-outs a worker has so long to end its process.
END_S = 5


def documents(path: Path) -> list[dict]:
    """Return the documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def unit(path: Path) -> configparser.ConfigParser:
    """Return a unit file, taken apart."""
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#", ";"))
    parser.optionxform = str
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def deployment() -> dict:
    """Return the pod of the Deployment."""
    return documents(MANIFESTS / "kubernetes" / "deployment.yaml")[0]["spec"]["template"]["spec"]


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with what they say."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]


def seconds(text: str) -> int:
    """Return what a time such as 45s stands for."""
    return int(re.fullmatch(r"(\d+)s", text)[1])


def unknown_flags(words: list[str]) -> list[str]:
    """Return the flags of a command line that no option has."""
    known = {option.flag for option in TABLE} | {option.short for option in TABLE if option.short}
    known |= {flag for parameter in ctl.params for flag in parameter.opts}
    return [word for word in words if word.startswith("-") and word.partition("=")[0] not in known]


class TestSchemas:
    """What the official schemas and tools say."""

    @pytest.mark.parametrize("path", KUBERNETES, ids=name)
    @pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
    def test_kubernetes_takes_it(self, path, version):
        for document in documents(path):
            assert kubernetes_validate.validate(document, version, strict=True)

    def test_the_schema_of_kubernetes_would_tell(self):
        document = documents(MANIFESTS / "kubernetes" / "deployment.yaml")[0]
        document["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
        with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
            kubernetes_validate.validate(document, "1.30", strict=True)

    def test_compose_takes_it(self):
        schema = resources.files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json"
        validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
        document = documents(COMPOSE)[0]
        assert not list(validator.iter_errors(document))
        document["services"]["shop"]["stop_grace_perod"] = "40s"
        assert list(validator.iter_errors(document))

    def test_the_linter_of_dockerfiles_finds_nothing(self):
        linter = Path(sysconfig.get_path("scripts"), "hadolint")
        command = [
            linter if linter.exists() else shutil.which("hadolint"),
            "--no-color",
            "--failure-threshold",
            "style",
        ]
        done = subprocess.run([*command, str(DOCKERFILE)], capture_output=True, text=True, timeout=50)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        bad = subprocess.run([*command, "-"], input="FROM x\nRUN cd /a\n", capture_output=True, text=True, timeout=50)
        assert bad.returncode == 1

    def test_systemd_takes_the_units_where_it_is_installed(self, tmp_path):
        program = tmp_path / "trilithon"
        program.write_text("#!/bin/sh\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        for path in UNITS:
            text = path.read_text(encoding="utf-8")
            # It looks whether programs exist, and this one is not installed where the unit says.
            (tmp_path / path.name).write_text(text.replace("/srv/shop/.venv/bin/trilithon", str(program)))
        verify = shutil.which("systemd-analyze")
        if verify is not None:
            copies = [str(tmp_path / path.name) for path in UNITS]
            done = subprocess.run([verify, "verify", *copies], capture_output=True, text=True, timeout=50)
            told = [line for line in done.stderr.splitlines() if "shop" in line]
            assert (done.returncode, told) == (0, [])
        assert all(unit(path).sections() for path in UNITS)

    def test_logrotate_has_what_it_needs(self):
        text = (MANIFESTS / "systemd" / "shop.logrotate").read_text(encoding="utf-8")
        block = re.fullmatch(r"# .*\n/var/log/shop/\*\.log \{\n((?:    .*\n)+)\}\n", text)[1]
        words = [line.strip() for line in block.splitlines()]
        assert "sharedscripts" in words and words[-1] == "endscript"
        assert "--signal=USR1 shop.service" in words[words.index("postrotate") + 1]


class TestOptions:
    """What the manifests tell the server."""

    @pytest.mark.parametrize("path", SERVICES, ids=name)
    def test_units_use_flags_that_exist(self, path):
        service = unit(path)["Service"]
        for key in ("ExecStart", "ExecReload"):
            assert not unknown_flags(shlex.split(service[key])[1:])
        assert shlex.split(service["ExecReload"])[-1] in ctl.commands

    def test_an_activated_unit_leaves_the_address_to_its_socket(self):
        activated = unit(MANIFESTS / "systemd" / "shop-activated.service")
        assert "--bind" not in activated["Service"]["ExecStart"]
        assert "AmbientCapabilities" not in activated["Service"]
        assert "shop-activated.socket" in activated["Unit"]["Requires"]
        assert unit(MANIFESTS / "systemd" / "shop-activated.socket")["Socket"].get("Accept", "no") == "no"

    def test_containers_use_flags_and_variables_that_exist(self):
        known = {option.env for option in TABLE}
        pod = deployment()["containers"][0]
        assert not unknown_flags(pod["args"][1:])
        shown = {entry["name"] for entry in pod["env"]}
        shown |= set(documents(COMPOSE)[0]["services"]["shop"]["environment"])
        shown |= set(re.findall(r"\b(TRILITHON_\w+)=", DOCKERFILE.read_text(encoding="utf-8")))
        assert len(shown) == 3 and not shown - known

    def test_the_server_is_process_one_and_no_shell(self):
        assert dict(instructions())["CMD"].startswith('["trilithon"')
        assert deployment()["containers"][0]["args"][0] == "trilithon"
        assert dict(instructions())["USER"].isdecimal()


class TestTimes:
    """Times that have to fit together: whoever stops the server waits longer than the server does."""

    GRACE_S = Options().graceful_timeout_s + END_S

    @pytest.mark.parametrize("path", SERVICES, ids=name)
    def test_systemd_waits(self, path):
        assert seconds(unit(path)["Service"]["TimeoutStopSec"]) > self.GRACE_S

    def test_docker_waits(self):
        assert seconds(documents(COMPOSE)[0]["services"]["shop"]["stop_grace_period"]) > self.GRACE_S

    def test_kubernetes_waits(self):
        pod = deployment()
        pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] > pause + self.GRACE_S

    def test_no_restart_where_it_cannot_help(self):
        for path in SERVICES:
            codes = [int(code) for code in unit(path)["Service"]["RestartPreventExitStatus"].split()]
            assert codes == [ExitCode.USAGE, ExitCode.LOAD]

    def test_the_image_and_compose_agree_on_health(self):
        check = json.loads(dict(instructions())["HEALTHCHECK"].partition("CMD ")[2])
        assert documents(COMPOSE)[0]["services"]["shop"]["healthcheck"]["test"] == ["CMD", *check]


class TestPage:
    """The page about operation."""

    def test_it_leads_to_every_manifest(self):
        text = PAGE.read_text(encoding="utf-8")
        files = [path for path in MANIFESTS.rglob("*") if path.is_file()]
        assert len(files) == 9
        assert not [path for path in files if f"({path.relative_to(PAGE.parent).as_posix()})" not in text]

    def test_it_has_every_exit_code(self):
        text = PAGE.read_text(encoding="utf-8")
        assert [code for code in ExitCode if f"| {int(code)} | {code.prose}" not in text] == []

    def test_it_has_every_command_of_ctl(self):
        text = PAGE.read_text(encoding="utf-8")
        assert [command for command in ctl.commands if f"ctl {command}" not in text] == []
