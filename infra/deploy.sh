#!/bin/sh
# The steps of a deployment, which `make` and Cloud Build both run:
#
#   PROJECT=my-project infra/deploy.sh archive upload plan apply record settle
#
# PREFIX names an installation other than "phasegate"; SETTINGS a file of Terraform variables beside this one.
set -eu
cd "$(dirname "$0")"

: "${PROJECT:?say for which project: PROJECT=my-project}"
PREFIX=${PREFIX:-phasegate}
state=gs://$PROJECT-$PREFIX-state
source=gs://$PROJECT-$PREFIX-source
# What the steps hand on to each other.
work=../.phasegate/deploy
mkdir -p "$work"

# Make what all other steps need: buckets, and the accounts of Cloud Build. Its state begins in its folder, and moves into the
# bucket as soon as there is one.
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

# Build the functions' source, and say what is to be deployed.
archive() {
    digest=$(python3 archive.py "$work")
    printf '{"project": "%s", "prefix": "%s", "archive": {"bucket": "%s", "digest": "%s"}}\n' \
        "$PROJECT" "$PREFIX" "${source#gs://}" "$digest" >deploy.auto.tfvars.json
    rm -f settings.auto.tfvars
    if [ -n "${SETTINGS:-}" ]; then cp "$SETTINGS" settings.auto.tfvars; fi
    printf '%s\n' "$digest" >"$work/digest"
}

# Bring it to where functions are built from, and get the checksums of the providers that the last deployment used.
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

# Make the places of secrets, and nothing else: a function that tells people does not start while one is empty.
secrets() {
    init -upgrade
    terraform apply -lock-timeout=10m -target=google_secret_manager_secret.this
    terraform state list | grep -F google_secret_manager_secret.this || echo "no pipeline file names a secret"
}

plan() {
    init -upgrade
    terraform plan -input=false -lock-timeout=10m -out="$work/plan"
}

# A grant takes up to minutes until it counts everywhere, which nothing tells; so what fails once is tried once more.
apply() {
    if ! terraform apply -input=false -lock-timeout=10m "$work/plan"; then
        echo "once more, in ${PAUSE:-120} s" >&2
        sleep "${PAUSE:-120}"
        plan
        terraform apply -input=false -lock-timeout=10m "$work/plan"
    fi
    terraform output -json settings >"$work/settings.json"
}

# Keep what was applied: the check for drift compares with this, not with what the branch says meanwhile.
record() {
    printf '%s\n' "${COMMIT_SHA:-$(git rev-parse HEAD)}" >"$work/commit"
    tar -czf "$work/applied.tar.gz" -C .. --exclude=.terraform --exclude='*.tfstate*' \
        .phasegate/deploy/commit infra shared/pipelines shared/phasegate/schemas
    gcloud storage cp "$work/applied.tar.gz" "$state/applied.tar.gz"
    gcloud storage cp .terraform.lock.hcl "$state/terraform.lock.hcl"
}

# Right after an apply there must be nothing left to change; otherwise every check for drift would find it.
settle() {
    terraform plan -input=false -lock-timeout=10m -detailed-exitcode
}

# Ask the live platform whether it is as the pipeline files demand; it takes minutes until a grant counts and the clock has ticked.
# Needs the command line: `make .venv/dev`.
doctor() {
    python3 -c 'import json, os, sys
os.environ.update(json.load(open(sys.argv[1])))
os.environ["PHASEGATE_PIPELINES"] = os.path.abspath("../shared/pipelines")
os.execv(sys.argv[2], sys.argv[2:])' "$work/settings.json" ../.venv/bin/phasegate doctor --wait "${WAIT:-10m}"
}

# Fetch what was applied last, into a folder of its own.
applied() {
    gcloud storage cp "$state/applied.tar.gz" "$work/applied.tar.gz"
    rm -rf "$work/applied"
    mkdir "$work/applied"
    tar -xzf "$work/applied.tar.gz" -C "$work/applied"
}

# Plan that, and change nothing. What was found is in $work; that something was found is no failure of this step.
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

# Say it on the drift topic, where deploy_watch makes an incident of it, or ends one.
report() {
    python3 drift.py "$work/drift.json" --exit-code "$(cat "$work/drift.code")" --log "$work/drift.log" \
        --commit "$(cat "$work/applied/.phasegate/deploy/commit")" --build "${BUILD_ID:-}" >"$work/message.json"
    gcloud pubsub topics publish "projects/$PROJECT/topics/$PREFIX-drift" --message="$(cat "$work/message.json")"
}

# Take everything away. State, history and secrets stay, and `make deploy ADOPT=true` takes them over again; DATA=delete
# takes them away, too. Terraform asks before it does anything.
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
