# How the archive becomes functions: one account builds them, into one repository.

resource "google_service_account" "build" {
  account_id   = "${var.prefix}-build"
  display_name = "phasegate: builds the functions"

  depends_on = [time_sleep.ready]
}

resource "google_storage_bucket_iam_member" "build" {
  bucket = var.archive.bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.build.member
}

# The platform copies the archive to its own bucket, which does not exist before the first function.
resource "google_project_iam_member" "build" {
  for_each = {
    logs   = { role = "roles/logging.logWriter", only = null }
    source = { role = "roles/storage.objectViewer", only = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-\")" }
  }

  project = var.project
  role    = each.value.role
  member  = google_service_account.build.member

  dynamic "condition" {
    for_each = each.value.only == null ? [] : [each.value.only]

    content {
      title      = "function_sources"
      expression = condition.value
    }
  }
}

resource "google_artifact_registry_repository" "functions" {
  repository_id = "${var.prefix}-functions"
  description   = "Images of the functions"
  location      = var.location.region
  format        = "DOCKER"

  # Images can be rebuilt from the archive; only those that run are needed.
  cleanup_policies {
    id     = "keep"
    action = "KEEP"

    most_recent_versions {
      keep_count = 5
    }
  }
  cleanup_policies {
    id     = "old"
    action = "DELETE"

    condition {
      older_than = "2592000s"
    }
  }

  depends_on = [time_sleep.ready]
}

resource "google_artifact_registry_repository_iam_binding" "build" {
  location   = google_artifact_registry_repository.functions.location
  repository = google_artifact_registry_repository.functions.name
  role       = "roles/artifactregistry.writer"
  members    = [google_service_account.build.member]
}
