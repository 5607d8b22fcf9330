#!/bin/sh
# The steps of a deployment, which `make` and Cloud Build both run:
#
#   PROJECT=my-project infra/deploy.sh archive upload plan apply record settle
#
# PREFIX names an installation other than "phasegate"; SETTINGS names a file of Terraform variables, relative to this folder.
set -eu
cd "$(dirname "$0")"

: "${PROJECT:?set the project: PROJECT=my-project}"
PREFIX=${PREFIX:-phasegate}
state=gs://$PROJECT-$PREFIX-state
source=gs://$PROJECT-$PREFIX-source
# Files that the steps pass on to each other.
work=../.phasegate/deploy
mkdir -p "$work"

# Create what all other steps need: buckets, and the accounts of Cloud Build. Its state starts in its folder, and moves to the
# bucket once that exists.
bootstrap() {
    cd bootstrap
    printf '{"project": "%s", "prefix": "%s"}\n' "$PROJECT" "$PREFIX" >bootstrap.auto.tfvars.json
    if ! gcloud storage buckets describe "$state" >/dev/null 2>&1; then
        rm -f backend.tf
        terraform init -input=false
        terraform apply
    fi
    printf 'terraform {\n  backend "gcs" {}\n}\n' >backend.tf
    terraform init -input=false -migrate-state -force-copy -backend-config="bucket=${state#gs://}" -backend-config=prefix=bootstrap
    terraform apply
    cd ..
}

# Build the archive of the functions' source, and write the variables of the deployment.
archive() {
    digest=$(python3 archive.py "$work")
    printf '{"project": "%s", "prefix": "%s", "archive": {"bucket": "%s", "digest": "%s"}}\n' \
        "$PROJECT" "$PREFIX" "${source#gs://}" "$digest" >deploy.auto.tfvars.json
    rm -f settings.auto.tfvars
    if [ -n "${SETTINGS:-}" ]; then cp "$SETTINGS" settings.auto.tfvars; fi
    printf '%s\n' "$digest" >"$work/digest"
}

# Upload the archive, and fetch the checksums of the providers that the last deployment used.
upload() {
    digest=$(cat "$work/digest")
    gcloud storage cp --no-clobber "$work/$digest.zip" "$source/source/$digest.zip"
    gcloud storage ls "$state/" >"$work/kept"
    rm -f .terraform.lock.hcl
    if grep -qx "$state/terraform.lock.hcl" "$work/kept"; then
        gcloud storage cp "$state/terraform.lock.hcl" .terraform.lock.hcl
    fi
}

init() {
    terraform init -input=false -backend-config="bucket=${state#gs://}" -backend-config=prefix=module "$@" >&2
}

# Create only the secrets: functions that send alerts do not start while a secret has no version.
secrets() {
    init -upgrade
    terraform apply -lock-timeout=10m -target=google_secret_manager_secret.this
    terraform state list | grep -F google_secret_manager_secret.this || echo "no pipeline file names a secret"
}

plan() {
    init -upgrade
    terraform plan -input=false -lock-timeout=10m -out="$work/plan"
}

# New grants take minutes to work everywhere, and nothing reports when they do. So a failed apply is retried once, with a new plan.
apply() {
    if ! terraform apply -input=false -lock-timeout=10m "$work/plan"; then
        echo "retrying in ${PAUSE:-120} s" >&2
        sleep "${PAUSE:-120}"
        plan
        terraform apply -input=false -lock-timeout=10m "$work/plan"
    fi
    terraform output -json settings >"$work/settings.json"
}

# Store what was applied: the drift check compares with this, not with later commits of the branch.
record() {
    printf '%s\n' "${COMMIT_SHA:-$(git rev-parse HEAD)}" >"$work/commit"
    tar -czf "$work/applied.tar.gz" -C .. --exclude=.terraform --exclude='*.tfstate*' \
        .phasegate/deploy/commit infra shared/pipelines shared/phasegate/schemas
    gcloud storage cp "$work/applied.tar.gz" "$state/applied.tar.gz"
    gcloud storage cp .terraform.lock.hcl "$state/terraform.lock.hcl"
}

# Right after an apply a plan must be empty; otherwise every drift check would report the difference.
settle() {
    terraform plan -input=false -lock-timeout=10m -detailed-exitcode
}

# Check the live installation. It takes minutes until new grants work and the first tick has run.
# Needs the command line: `make .venv/dev`.
doctor() {
    python3 -c 'import json, os, sys
os.environ.update(json.load(open(sys.argv[1])))
os.environ["PHASEGATE_PIPELINES"] = os.path.abspath("../shared/pipelines")
os.execv(sys.argv[2], sys.argv[2:])' "$work/settings.json" ../.venv/bin/phasegate doctor --wait "${WAIT:-10m}"
}

# Fetch what was applied last, into its own folder.
applied() {
    gcloud storage cp "$state/applied.tar.gz" "$work/applied.tar.gz"
    rm -rf "$work/applied"
    mkdir "$work/applied"
    tar -xzf "$work/applied.tar.gz" -C "$work/applied"
}

# Plan it, and change nothing. The result is in $work; finding drift does not fail this step.
drift() {
    found=$(cd "$work" && pwd)
    cd "$work/applied/infra"
    {
        code=0
        init -lockfile=readonly &&
            terraform plan -input=false -lock=false -no-color -detailed-exitcode -out="$found/drift" || code=$?
    } 2>"$found/drift.log"
    cat "$found/drift.log" >&2
    printf '%s\n' "$code" >"$found/drift.code"
    rm -f "$found/drift.json"
    case $code in 0 | 2) terraform show -json "$found/drift" >"$found/drift.json" ;; esac
    cd - >/dev/null
}

# Publish the result to the drift topic; deploy_watch opens or ends an incident.
report() {
    python3 drift.py "$work/drift.json" --exit-code "$(cat "$work/drift.code")" --log "$work/drift.log" \
        --commit "$(cat "$work/applied/.phasegate/deploy/commit")" --build "${BUILD_ID:-}" >"$work/message.json"
    gcloud pubsub topics publish "projects/$PROJECT/topics/$PREFIX-drift" --message="$(cat "$work/message.json")"
}

# Remove everything except state, history and secrets, which `make deploy ADOPT=true` takes over again. DATA=delete removes
# these, too. Terraform asks before it changes anything.
destroy() {
    init -upgrade
    if [ "${DATA:-keep}" = delete ]; then
        terraform apply -var=keep_data=false -target=google_firestore_database.state -target=google_bigquery_table.history \
            -target=google_secret_manager_secret.this
        terraform destroy -var=keep_data=false
        return
    fi
    terraform state list |
        grep -E '^google_(firestore_database\.state|bigquery_(dataset|table)\.history|secret_manager_secret\.this\[.*)$' |
        while read -r kept; do terraform state rm "$kept"; done
    terraform destroy
}

for step in "$@"; do
    "$step"
done
