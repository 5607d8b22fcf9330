# What must exist before the first plan: buckets, and the two accounts of Cloud Build. A person applies it once. It is separate
# from the module, so that the deploying account can't extend its own roles.

locals {
  # Names of roles must not have dashes.
  stem = replace(var.prefix, "-", "_")

  buckets = {
    source = { versioned = false }
    state  = { versioned = true }
  }

  # Roles for deploying. They are on the project, because the resources do not exist yet.
  deploy = {
    "roles/artifactregistry.admin"         = "create the repository of images, and grant access to it"
    "roles/bigquery.dataOwner"             = "create the history, and grant read access to the pipelines' datasets"
    "roles/cloudbuild.builds.editor"       = "create the triggers"
    "roles/cloudbuild.connectionViewer"    = "name the repository in the triggers"
    "roles/cloudfunctions.developer"       = "create the functions"
    "roles/cloudscheduler.admin"           = "create the scheduler jobs"
    "roles/datastore.owner"                = "create the state database, its indexes and lifetimes"
    "roles/iam.serviceAccountAdmin"        = "create an account for each function"
    "roles/logging.logWriter"              = "write the logs of its builds"
    "roles/monitoring.editor"              = "create alert policies and the dashboard"
    "roles/pubsub.admin"                   = "create topics and subscriptions, and grant access to them"
    "roles/run.admin"                      = "grant who may call the functions"
    "roles/serviceusage.serviceUsageAdmin" = "enable APIs"
  }

  # Roles for the drift check; they only read.
  check = {
    "roles/iam.securityReviewer" = "read all grants"
    "roles/logging.logWriter"    = "write the logs of its builds"
    "roles/viewer"               = "read the configuration of all resources"
  }

  # The only roles that the deploying account may grant on the project.
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
  #checkov:skip=CKV_GCP_62:Cloud Audit Logs record who read or wrote what; a bucket of access logs would be one more to maintain.
  #checkov:skip=CKV_GCP_78:The state is versioned; an archive is named by its digest and never overwritten.
  for_each = local.buckets

  name                        = "${var.project}-${var.prefix}-${each.key}"
  location                    = var.region
  force_destroy               = false
  public_access_prevention    = "enforced"
  uniform_bucket_level_access = true

  versioning {
    enabled = each.value.versioned
  }

  # 50 earlier versions of the state are kept. Archives stay: the deployed one may be old, and each has only 1 MB.
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
    check  = "phasegate: checks for drift"
    deploy = "phasegate: deploys"
  }

  account_id   = "${var.prefix}-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.this]
}

resource "google_project_iam_member" "deploy" {
  #checkov:skip=CKV_GCP_49:It creates the functions' accounts, which do not exist before, and may grant only what they need.
  for_each = local.deploy

  project = var.project
  role    = each.key
  member  = google_service_account.build["deploy"].member
}

resource "google_project_iam_member" "check" {
  #checkov:skip=CKV_GCP_117:A plan reads all configuration; only roles/viewer keeps up with everything that the module declares.
  for_each = local.check

  project = var.project
  role    = each.key
  member  = google_service_account.build["check"].member
}

# It may grant only these roles, so it can't give itself others.
resource "google_project_iam_member" "grant" {
  project = var.project
  role    = "roles/resourcemanager.projectIamAdmin"
  member  = google_service_account.build["deploy"].member

  condition {
    title      = "only_what_functions_need"
    expression = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(${jsonencode(local.granted)})"
  }
}

# Permissions that Google's own roles only have together with too much: creating secrets with reading them, the heartbeat metric
# with exporting logs.
resource "google_project_iam_custom_role" "deploy" {
  role_id     = "${local.stem}_deploy"
  title       = "phasegate: deploy"
  description = "Create secrets, without reading them, and the heartbeat metric."
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

# Reads configuration and grants, never contents. The module gives it to the function that runs the daily checkup.
resource "google_project_iam_custom_role" "doctor" {
  role_id     = "${local.stem}_doctor"
  title       = "phasegate: doctor"
  description = "Read the configuration of topics, subscriptions, functions, scheduler jobs, secrets and tables."
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

# A deployment ends with `phasegate doctor`.
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
