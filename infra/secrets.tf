# A secret for every `secret://NAME` in the pipeline files, without its value: versions are added manually
# (`gcloud secrets versions add NAME --data-file=-`), so that no value is ever in a plan or state.

import {
  for_each = var.adopt_data ? local.secrets : toset([])
  to       = google_secret_manager_secret.this[each.key]
  id       = "projects/${var.project}/secrets/${each.key}"
}

resource "google_secret_manager_secret" "this" {
  for_each = local.secrets

  secret_id           = each.key
  deletion_protection = var.keep_data

  replication {
    auto {}
  }

  depends_on = [time_sleep.ready]
}

resource "google_secret_manager_secret_iam_binding" "reader" {
  for_each = google_secret_manager_secret.this

  secret_id = each.value.id
  role      = "roles/secretmanager.secretAccessor"
  members   = [for name, function in local.functions : google_service_account.function[name].member if function.secrets]
}
