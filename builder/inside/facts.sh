#!/bin/sh
# Write down what is installed: conda's packages by its own records, others as their tools name them.
set -u
{
    for record in "${CONDA_DIR:-/srv/conda}"/conda-meta/*.json "${CONDA_DIR:-/srv/conda}"/envs/*/conda-meta/*.json; do
        [ -f "$record" ] && basename "$record" .json
    done
    for python in "${KERNEL_PYTHON_PREFIX:-}/bin/python" "${NB_PYTHON_PREFIX:-}/bin/python"; do
        [ -x "$python" ] && "$python" -m pip list --format=freeze --disable-pip-version-check 2>/dev/null
    done
    cat "${REPO_DIR}/Manifest.toml" "${REPO_DIR}/JuliaManifest.toml" 2>/dev/null |
        sed -n -e 's/^\[\[deps\.\(.*\)\]\]$/julia \1/p'
    dpkg-query --show --showformat 'apt ${Package}=${Version}\n'
} | sort -u >/srv/bindery.lock
true
