# One function for each folder of functions/, all from one archive; a test compares this map with the folders.

locals {
  # event: Pub/Sub pushes to it; otherwise people and programs call it over HTTP. measures: reads the pipelines' tables.
  # publishes: kinds of topics. secrets: reads the secrets that the pipeline files name.
  usual = {
    concurrency = 1
    cpu         = "0.333"
    event       = true
    instances   = 3
    measures    = false
    memory      = "512Mi"
    publishes   = ["alerts"]
    secrets     = false
    timeout     = 540
  }
  functions = {
    acknowledge = merge(local.usual, {
      does      = "Acknowledges an incident from the link in its alert"
      event     = false
      publishes = []
      secrets   = true
      timeout   = 60
    })
    alert_dispatch = merge(local.usual, {
      does    = "Sends alerts to people, each once"
      secrets = true
    })
    dead_letter = merge(local.usual, {
      does = "Stores messages that could not be delivered, and alerts"
    })
    deploy_watch = merge(local.usual, {
      does = "Turns failed deployments and drift into incidents"
    })
    # It mostly waits for BigQuery, so one instance judges several gates at the same time; concurrency needs a whole CPU.
    phase_monitor = merge(local.usual, {
      does        = "Judges a finished phase, and opens or holds its gate"
      concurrency = 4
      cpu         = "1"
      instances   = 10
      measures    = true
      memory      = "1Gi"
      publishes   = ["alerts", "events", "go", "retry"]
    })
    preflight = merge(local.usual, {
      does        = "Answers whether a phase may start"
      concurrency = 4
      cpu         = "1"
      event       = false
      measures    = true
      publishes   = []
      timeout     = 60
    })
    watch = merge(local.usual, {
      does      = "Checks every minute for overdue phases and unsent messages"
      cpu       = "1"
      measures  = true
      memory    = "1Gi"
      publishes = ["alerts", "events", "go", "retry"]
      secrets   = true
    })
  }

  dashed = { for name, _ in local.functions : name => replace(name, "_", "-") }

  environment = {
    PHASEGATE_BUS                  = "pubsub:${var.project}/${var.prefix}"
    PHASEGATE_DIGEST               = var.archive.digest
    PHASEGATE_MAXIMUM_BYTES_BILLED = tostring(var.warehouse.maximum_bytes_billed)
    PHASEGATE_PIPELINES            = "shared/pipelines"
    PHASEGATE_SECRETS              = "secretmanager:${var.project}"
    PHASEGATE_STATE                = "firestore:${var.project}/${google_firestore_database.state.name}"
    PHASEGATE_WAREHOUSE            = "bigquery:${join("/", compact([local.warehouse_project, var.warehouse.location]))}"
  }

  # The URL of the service, not of the function: only there internal callers count as internal.
  endpoint = { for name, function in google_cloudfunctions2_function.this : name => function.service_config[0].uri }
}

resource "google_cloudfunctions2_function" "this" {
  for_each = local.functions

  name        = "${var.prefix}-${local.dashed[each.key]}"
  description = each.value.does
  location    = var.location.region
  # A label has at most 63 characters, a digest has 64.
  labels = { digest = substr(var.archive.digest, 0, 16) }

  build_config {
    runtime           = "python313"
    entry_point       = each.key
    docker_repository = google_artifact_registry_repository.functions.id
    service_account   = google_service_account.build.id

    environment_variables = { GOOGLE_FUNCTION_SOURCE = "functions/${each.key}/main.py" }

    source {
      storage_source {
        bucket = var.archive.bucket
        object = "source/${var.archive.digest}.zip"
      }
    }
  }

  service_config {
    available_cpu                    = each.value.cpu
    available_memory                 = each.value.memory
    environment_variables            = merge(local.environment, var.environment)
    ingress_settings                 = each.value.event ? "ALLOW_INTERNAL_ONLY" : "ALLOW_ALL"
    max_instance_count               = each.value.instances
    max_instance_request_concurrency = each.value.concurrency
    min_instance_count               = 0
    service_account_email            = google_service_account.function[each.key].email
    timeout_seconds                  = each.value.timeout
  }

  # Needed by its build and its first request.
  depends_on = [
    google_artifact_registry_repository_iam_binding.build,
    google_firestore_index.state,
    google_project_iam_member.build,
    google_project_iam_member.state,
    google_secret_manager_secret_iam_binding.reader,
    google_service_account_iam_binding.deploy,
    google_storage_bucket_iam_member.build,
  ]

  lifecycle {
    precondition {
      condition     = each.value.timeout < local.ack_seconds
      error_message = "${each.key} may run longer than the ack deadline, and would get a message twice."
    }
  }
}

# The account of Pub/Sub's pushes. Its role is on the service: the function's own policy has no effect.
resource "google_service_account" "push" {
  account_id   = "${var.prefix}-push"
  display_name = "phasegate: pushes of Pub/Sub to functions"

  depends_on = [time_sleep.ready]
}

resource "google_cloud_run_v2_service_iam_binding" "push" {
  for_each = { for name, function in local.functions : name => google_cloudfunctions2_function.this[name] if function.event }

  location = each.value.location
  name     = each.value.name
  role     = "roles/run.invoker"
  members  = [google_service_account.push.member]
}

resource "google_cloud_run_v2_service_iam_binding" "acknowledge" {
  count = length(var.access.acknowledge) > 0 ? 1 : 0

  location = google_cloudfunctions2_function.this["acknowledge"].location
  name     = google_cloudfunctions2_function.this["acknowledge"].name
  role     = "roles/run.invoker"
  members  = var.access.acknowledge
}

resource "google_cloud_run_v2_service_iam_binding" "preflight" {
  count = length(var.access.preflight) > 0 ? 1 : 0

  location = google_cloudfunctions2_function.this["preflight"].location
  name     = google_cloudfunctions2_function.this["preflight"].name
  role     = "roles/run.invoker"
  members  = var.access.preflight
}

# In projects older than April 2021 the agent may not create tokens by default.
resource "google_service_account_iam_binding" "push" {
  service_account_id = google_service_account.push.id
  role               = "roles/iam.serviceAccountTokenCreator"
  members            = [local.agents.pubsub]
}

# The deploying account may attach these accounts to functions, builds and subscriptions, and no others.
resource "google_service_account_iam_binding" "deploy" {
  for_each = merge(google_service_account.function, { build = google_service_account.build, push = google_service_account.push })

  service_account_id = each.value.id
  role               = "roles/iam.serviceAccountUser"
  members            = ["serviceAccount:${local.builders.deploy}"]
}

# `watch` runs the doctor once a day. `make bootstrap` makes the role, which only reads.
resource "google_project_iam_member" "doctor" {
  project = var.project
  role    = "projects/${var.project}/roles/${replace(var.prefix, "-", "_")}_doctor"
  member  = google_service_account.function["watch"].member
}

resource "google_service_account" "function" {
  for_each = local.functions

  account_id   = "${var.prefix}-${local.dashed[each.key]}"
  display_name = "phasegate: ${each.value.does}"

  depends_on = [time_sleep.ready]
}
