"""Build step: compile the hot modules where a C compiler is there, install the pure build where not."""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path("src")


def hot_modules():
    """List the sources with a `.pxd` beside them: a hand-written `.pyx` where there is one, the plain `.py` elsewhere."""
    for declarations in sorted(SOURCE.rglob("*.pxd")):
        if declarations.name == "__init__.pxd":
            continue
        leaf = declarations.with_suffix(".pyx")
        source = leaf if leaf.exists() else declarations.with_suffix(".py")
        name = ".".join(source.relative_to(SOURCE).with_suffix("").parts)
        yield Extension(name, [source.as_posix()], extra_compile_args=["-O2", "-fno-plt"])


class BuildHot(build_ext):
    """Compile all hot modules or none: a half compiled package would have two layouts of one class."""

    def run(self):
        """Build the extensions; on failure remove what was built and say so in one line."""
        try:
            super().run()
        except Exception as fault:
            for path in Path(self.build_lib).rglob("*.so"):
                path.unlink()
            self.extensions = []
            sys.stderr.write(f"trilithon: not compiled ({fault}); installing the pure Python build, which is slower\n")


def extensions():
    """Return the extensions to build, none when TRILITHON_PURE is set or Cython is missing."""
    if os.environ.get("TRILITHON_PURE"):
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        sys.stderr.write("trilithon: Cython is missing; installing the pure Python build, which is slower\n")
        return []
    return cythonize(
        list(hot_modules()),
        include_path=["src"],
        build_dir="build/cython",
        compiler_directives={"language_level": "3str", "binding": False, "embedsignature": False},
    )


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildHot})
