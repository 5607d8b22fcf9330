# Cloud Build: deploys the branch, and checks for drift every hour. `make bootstrap` makes its two accounts: an account that
# may grant roles must not get its own roles from what it deploys.

locals {
  builders = { for name in ["check", "deploy"] : name => "${var.prefix}-${name}@${var.project}.iam.gserviceaccount.com" }
  checker  = "serviceAccount:${local.builders.check}"
  triggers = var.repository == null ? {} : { this = var.repository }
}

resource "google_cloudbuild_trigger" "deploy" {
  for_each = local.triggers

  name            = "${var.prefix}-deploy"
  description     = "Deploys ${each.value.branch}"
  location        = var.location.region
  filename        = "cloudbuild.yaml"
  service_account = "projects/${var.project}/serviceAccounts/${local.builders.deploy}"
  substitutions   = { _PREFIX = var.prefix, _SETTINGS = each.value.settings }

  repository_event_config {
    repository = each.value.connection

    push {
      branch = "^${each.value.branch}$"
    }
  }

  approval_config {
    approval_required = each.value.approval
  }

  depends_on = [time_sleep.ready]
}

resource "google_cloudbuild_trigger" "drift" {
  for_each = local.triggers

  name            = "${var.prefix}-drift"
  description     = "Checks for drift from what was deployed"
  location        = var.location.region
  service_account = "projects/${var.project}/serviceAccounts/${local.builders.check}"
  substitutions   = { _PREFIX = var.prefix }

  pubsub_config {
    topic = google_pubsub_topic.this["drift-check"].id
  }

  # Only the programs come from the branch. They compare with what the last deployment recorded.
  source_to_build {
    repository = each.value.connection
    ref        = "refs/heads/${each.value.branch}"
    repo_type  = "UNKNOWN"
  }

  git_file_source {
    path       = "cloudbuild-drift.yaml"
    repository = each.value.connection
    revision   = "refs/heads/${each.value.branch}"
    repo_type  = "UNKNOWN"
  }
}
