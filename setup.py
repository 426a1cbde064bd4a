"""Build step: compile the hot modules where a C compiler is there, install the pure build where not."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path("src")
# Annotations are for people and mypy; only the `.pxd` files give C types, so that both builds accept the same values.
DIRECTIVES = {"language_level": "3str", "binding": False, "embedsignature": False, "annotation_typing": False}
# A None where an object is expected must be an error, never a crash; it costs 2% of the server's own share.
DIRECTIVES["nonecheck"] = True
# No object of the server is pickled; the code that would do it was a tenth of all that is compiled.
DIRECTIVES["auto_pickle"] = False
# What a debugger wants to know of generated C is a quarter of the compiler's time and four fifths of the package.
FLAGS = ["-O2", "-g0", *(["-fno-plt"] if sys.platform.startswith("linux") else [])]


def hot_modules():
    """List the sources with a `.pxd` beside them: the hand-written `.pyx` where there is one, the `.py` elsewhere."""
    for declarations in sorted(SOURCE.rglob("*.pxd")):
        if declarations.name == "__init__.pxd":
            continue
        leaf = declarations.with_suffix(".pyx")
        source = leaf if leaf.exists() else declarations.with_suffix(".py")
        name = ".".join(source.relative_to(SOURCE).with_suffix("").parts)
        yield Extension(name, [source.as_posix()], extra_compile_args=FLAGS)


def stay_pure(reason):
    """Say in one line why the pure build is installed."""
    sys.stderr.write(f"trilithon: not compiled ({reason}); installing the pure Python build, which is slower\n")


class BuildHot(build_ext):
    """Compile all hot modules or none: a half compiled package would have two layouts of one class."""

    def finalize_options(self):
        """Compile on every processor unless told otherwise."""
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self):
        """Build the extensions; on failure remove what was built and say so in one line."""
        try:
            super().run()
        except Exception as fault:
            for path in Path(self.build_lib).rglob("*.so"):
                path.unlink()
            self.extensions = []
            stay_pure(str(fault).splitlines()[-1])


def missing():
    """Name the first thing that compiling needs and this machine lacks; empty when all is there."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if not shutil.which(compiler.split()[0]):
        return f"no C compiler: {compiler.split()[0]} was not found"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "no C headers of this Python"
    return ""


def extensions():
    """Return the extensions to build: none when TRILITHON_PURE is set or something that compiling needs is missing."""
    if os.environ.get("TRILITHON_PURE", "") not in ("", "0"):
        stay_pure("TRILITHON_PURE is set")
        return []
    lacking = missing()
    if lacking:
        stay_pure(lacking)
        return []
    try:
        from Cython.Build import cythonize
        from Cython.Compiler.Errors import CompileError
    except ImportError:
        stay_pure("Cython is missing")
        return []
    try:
        return cythonize(
            list(hot_modules()),
            include_path=["src"],
            build_dir="build/cython",
            compiler_directives=DIRECTIVES,
        )
    except CompileError as fault:
        stay_pure(f"Cython rejects {str(fault).splitlines()[-1]}")
        return []


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildHot})
