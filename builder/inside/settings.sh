# To be read by other scripts: what this site needs to reach its package indexes.
if [ -f /run/secrets/bindery-settings ]; then
    set -a
    . /run/secrets/bindery-settings
    set +a
fi
if [ -f /run/secrets/bindery-ca ]; then
    export SSL_CERT_FILE=/run/secrets/bindery-ca
fi
