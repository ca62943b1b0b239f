#!/bin/sh
# Installs uv into .tools/, the locked packages into .venv/ and what Lambda itself has into .venv-lambda/; make calls it when uv.lock or pyproject.toml changed.
#
#     sh tools/setup.sh UV_VERSION
set -eu

tools=.tools/uv-$1
uv=$tools/bin/uv
log=.tools/setup.log
mkdir -p .tools
: >"$log"

# What the caller has set up for other projects must not redirect what belongs in this folder.
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH UV_PYTHON PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
export UV_PROJECT_ENVIRONMENT=.venv

stop() {
    echo "$1" >&2
    exit 1
}

# Running it is the only proof: a pyenv shim fails where the version named in .python-version is not installed.
find_python_with_pip() {
    for python in python3 python3.14 python3.13 python3.12 python3.11 python \
        /usr/bin/python3 /usr/local/bin/python3 /opt/homebrew/bin/python3 \
        "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/*/bin/python3; do
        if "$python" -c 'if True:
            import sys
            from importlib.util import find_spec
            sys.exit(sys.version_info < (3, 11) or not (find_spec("pip") or find_spec("ensurepip")))
        ' 2>>"$log"; then
            echo "$python"
            return
        fi
    done
    return 1
}

install_uv() {
    python=$(find_python_with_pip) ||
        stop "Image Lake needs a Python 3.11 or newer with pip to install uv: install one (on Debian: apt install python3-venv) and run make again."
    echo "Installing uv $1 into .tools"
    if ! "$python" -m pip --version >>"$log" 2>&1; then
        "$python" -m venv --clear .tools/pip >>"$log" 2>&1 ||
            stop "$python can neither run pip nor make a virtual environment: install one of them (on Debian: apt install python3-venv) and run make again."
        python=.tools/pip/bin/python
    fi
    "$python" -m pip install --only-binary :all: --upgrade --target "$tools" "uv==$1" >>"$log" 2>&1 ||
        stop "pip could not install uv $1: see $log for its reason, and run make again."
    rm -rf .tools/pip
}

# Also finds a Python that an earlier run downloaded.
find_project_python() {
    "$uv" python find --system 2>>"$log" || UV_PYTHON_INSTALL_DIR=.tools/python "$uv" python find --system 2>>"$log"
}

"$uv" --version >/dev/null 2>&1 || install_uv "$1"

if ! python=$(find_project_python); then
    wanted=$(cat .python-version)
    echo "Python $wanted is not on PATH: asking uv to download it into .tools"
    UV_PYTHON_INSTALL_DIR=.tools/python "$uv" python install --no-bin >>"$log" 2>&1 && python=$(find_project_python) ||
        stop "Image Lake needs Python $wanted, which is not on PATH and which uv could not download: install it (for example with pyenv install $wanted, brew install python@$wanted or apt install python$wanted) and run make again."
fi

echo "Installing the packages of uv.lock into .venv"
"$uv" sync --frozen --quiet --python "$python"
UV_PROJECT_ENVIRONMENT=.venv-lambda "$uv" sync --frozen --quiet --python "$python" --only-group lambda-runtime
