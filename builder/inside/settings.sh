# To be read by other scripts: what this site needs to reach its package servers.
if [ -f /run/secrets/bindery-settings ]; then
    set -a
    . /run/secrets/bindery-settings
    set +a
fi
if [ -f /run/secrets/bindery-ca ]; then
    for name in SSL_CERT_FILE CURL_CA_BUNDLE REQUESTS_CA_BUNDLE PIP_CERT GIT_SSL_CAINFO NODE_EXTRA_CA_CERTS \
        CONDA_SSL_VERIFY MAMBA_SSL_VERIFY JULIA_SSL_CA_ROOTS_PATH NIX_SSL_CERT_FILE; do
        export "$name=/run/secrets/bindery-ca"
    done
fi
