# What must exist before the first plan, applied once by a person: buckets, and the two accounts that Cloud Build runs as. It is
# apart from the module, so that the account that deploys can't widen its own rights.

locals {
  # Roles may not have a dash in their names.
  stem = replace(var.prefix, "-", "_")

  buckets = {
    source = { versioned = false }
    state  = { versioned = true }
  }

  # What deploying needs, and why it must be on the project: the things do not exist yet.
  deploy = {
    "roles/artifactregistry.admin"         = "make the repository of images, and grant on it"
    "roles/bigquery.dataOwner"             = "make the history, and grant reading of the pipelines' datasets"
    "roles/cloudbuild.builds.editor"       = "make the triggers"
    "roles/cloudbuild.connectionViewer"    = "name the repository in them"
    "roles/cloudfunctions.developer"       = "make the functions"
    "roles/cloudscheduler.admin"           = "make the clock"
    "roles/datastore.owner"                = "make the state database, its indexes and lifetimes"
    "roles/iam.serviceAccountAdmin"        = "make an account for each function"
    "roles/logging.logWriter"              = "write the log of its builds"
    "roles/monitoring.editor"              = "make alert policies and the dashboard"
    "roles/pubsub.admin"                   = "make topics and subscriptions, and grant on them"
    "roles/run.admin"                      = "grant who may call the functions"
    "roles/serviceusage.serviceUsageAdmin" = "switch APIs on"
  }

  # Drift is looked for with eyes only.
  check = {
    "roles/iam.securityReviewer" = "read who was granted what"
    "roles/logging.logWriter"    = "write the log of its builds"
    "roles/viewer"               = "read how everything is set"
  }

  # The only roles that deploying may grant on the project.
  granted = [
    "roles/bigquery.jobUser", "roles/datastore.user", "roles/logging.logWriter", "roles/storage.objectViewer",
    "projects/${var.project}/roles/${local.stem}_doctor",
  ]
}

resource "google_project_service" "this" {
  for_each = toset(["cloudbuild", "cloudresourcemanager", "iam", "serviceusage", "storage"])

  service = "${each.key}.googleapis.com"
}

resource "google_storage_bucket" "this" {
  #checkov:skip=CKV_GCP_62:Cloud Audit Logs tell who read or wrote what; a bucket of access logs would be one more to keep.
  #checkov:skip=CKV_GCP_78:The state is versioned; an archive is named by its digest and never written twice.
  for_each = local.buckets

  name                        = "${var.project}-${var.prefix}-${each.key}"
  location                    = var.region
  force_destroy               = false
  public_access_prevention    = "enforced"
  uniform_bucket_level_access = true

  versioning {
    enabled = each.value.versioned
  }

  # Of the state, 50 earlier versions. Archives stay: the one that runs may be old, and each has 1 MB.
  dynamic "lifecycle_rule" {
    for_each = each.value.versioned ? [1] : []

    content {
      action {
        type = "Delete"
      }
      condition {
        num_newer_versions = 50
        with_state         = "ARCHIVED"
      }
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_service_account" "build" {
  for_each = {
    check  = "phasegate: looks for drift"
    deploy = "phasegate: deploys"
  }

  account_id   = "${var.prefix}-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.this]
}

resource "google_project_iam_member" "deploy" {
  #checkov:skip=CKV_GCP_49:It makes the functions' accounts, which do not exist before; it may grant what they need, and no more.
  for_each = local.deploy

  project = var.project
  role    = each.key
  member  = google_service_account.build["deploy"].member
}

resource "google_project_iam_member" "check" {
  #checkov:skip=CKV_GCP_117:A plan reads how everything is set; roles/viewer is the one that keeps up with what the module declares.
  for_each = local.check

  project = var.project
  role    = each.key
  member  = google_service_account.build["check"].member
}

# It grants roles to the functions' accounts, and these alone: never to itself what it does not have.
resource "google_project_iam_member" "grant" {
  project = var.project
  role    = "roles/resourcemanager.projectIamAdmin"
  member  = google_service_account.build["deploy"].member

  condition {
    title      = "only_what_functions_need"
    expression = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(${jsonencode(local.granted)})"
  }
}

# What Google's own roles allow only together with more: making secrets with reading them, the metric of heartbeats with sending
# logs elsewhere.
resource "google_project_iam_custom_role" "deploy" {
  role_id     = "${local.stem}_deploy"
  title       = "phasegate: deploy"
  description = "Make secrets, without reading them, and the metric of heartbeats."
  permissions = [
    "logging.logMetrics.create", "logging.logMetrics.delete", "logging.logMetrics.get", "logging.logMetrics.list",
    "logging.logMetrics.update",
    "secretmanager.secrets.create", "secretmanager.secrets.delete", "secretmanager.secrets.get", "secretmanager.secrets.getIamPolicy",
    "secretmanager.secrets.list", "secretmanager.secrets.setIamPolicy", "secretmanager.secrets.update",
  ]

  depends_on = [google_project_service.this]
}

resource "google_project_iam_member" "custom" {
  project = var.project
  role    = google_project_iam_custom_role.deploy.id
  member  = google_service_account.build["deploy"].member
}

# How things are set and who may do what, never what is in them; the module gives it to the function that looks every day.
resource "google_project_iam_custom_role" "doctor" {
  role_id     = "${local.stem}_doctor"
  title       = "phasegate: doctor"
  description = "Read how topics, subscriptions, functions, the clock, secrets and tables are set."
  permissions = [
    "bigquery.tables.get", "bigquery.tables.list",
    "cloudfunctions.functions.get", "cloudfunctions.functions.list", "cloudscheduler.jobs.get", "cloudscheduler.jobs.list",
    "pubsub.subscriptions.get", "pubsub.subscriptions.getIamPolicy", "pubsub.subscriptions.list", "pubsub.topics.get",
    "pubsub.topics.getIamPolicy", "pubsub.topics.list", "run.revisions.get", "run.services.get", "run.services.getIamPolicy",
    "run.services.list", "secretmanager.secrets.get", "secretmanager.secrets.getIamPolicy", "secretmanager.versions.get",
    "secretmanager.versions.list",
  ]

  depends_on = [google_project_service.this]
}

# A deployment ends with that look.
resource "google_project_iam_member" "doctor" {
  project = var.project
  role    = google_project_iam_custom_role.doctor.id
  member  = google_service_account.build["deploy"].member
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = {
    check-source  = { account = "check", bucket = "source", role = "roles/storage.objectViewer" }
    check-state   = { account = "check", bucket = "state", role = "roles/storage.objectViewer" }
    deploy-source = { account = "deploy", bucket = "source", role = "roles/storage.admin" }
    deploy-state  = { account = "deploy", bucket = "state", role = "roles/storage.objectAdmin" }
  }

  bucket = google_storage_bucket.this[each.value.bucket].name
  role   = each.value.role
  member = google_service_account.build[each.value.account].member
}
