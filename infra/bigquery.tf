# The pipelines' tables, which are only read, and the history of all decisions, which Pub/Sub writes.

locals {
  history  = jsondecode(file("${path.module}/../shared/phasegate/schemas/history.bigquery.json"))
  measures = { for name, function in local.functions : name => google_service_account.function[name].member if function.measures }
}

resource "google_bigquery_dataset" "watched" {
  for_each = var.warehouse.create_datasets ? local.datasets : toset([])

  dataset_id  = reverse(split(".", each.key))[0]
  project     = strcontains(each.key, ".") ? split(".", each.key)[0] : local.warehouse_project
  location    = var.location.bigquery
  description = "Tables of the pipelines that phasegate watches."

  depends_on = [time_sleep.ready]
}

resource "google_bigquery_dataset_iam_member" "measures" {
  for_each = merge([
    for dataset in local.datasets : {
      for name, member in local.measures : "${dataset} ${name}" => { dataset = dataset, member = member }
    }
  ]...)

  dataset_id = reverse(split(".", each.value.dataset))[0]
  project    = strcontains(each.value.dataset, ".") ? split(".", each.value.dataset)[0] : local.warehouse_project
  role       = "roles/bigquery.dataViewer"
  member     = each.value.member

  depends_on = [google_bigquery_dataset.watched]
}

resource "google_project_iam_member" "query" {
  for_each = local.measures

  project = local.warehouse_project
  role    = "roles/bigquery.jobUser"
  member  = each.value

  depends_on = [time_sleep.ready]
}

import {
  for_each = var.adopt_data ? [1] : []
  to       = google_bigquery_dataset.history
  id       = "projects/${var.project}/datasets/${replace(var.prefix, "-", "_")}"
}

resource "google_bigquery_dataset" "history" {
  dataset_id  = replace(var.prefix, "-", "_")
  location    = var.location.bigquery
  description = "Decisions of phasegate."

  depends_on = [time_sleep.ready]
}

import {
  for_each = var.adopt_data ? [1] : []
  to       = google_bigquery_table.history
  id       = "projects/${var.project}/datasets/${replace(var.prefix, "-", "_")}/tables/history"
}

resource "google_bigquery_table" "history" {
  dataset_id          = google_bigquery_dataset.history.dataset_id
  table_id            = "history"
  description         = local.history.description
  schema              = jsonencode(local.history.columns)
  clustering          = local.history.clustering
  deletion_protection = var.keep_data

  time_partitioning {
    type  = local.history.partition.type
    field = local.history.partition.field
  }
}

resource "google_bigquery_table_iam_member" "history" {
  dataset_id = google_bigquery_table.history.dataset_id
  table_id   = google_bigquery_table.history.table_id
  role       = "roles/bigquery.dataEditor"
  member     = local.agents.pubsub
}

resource "google_pubsub_subscription" "history" {
  name                       = "${var.prefix}-history"
  topic                      = google_pubsub_topic.this["events"].id
  ack_deadline_seconds       = local.ack_seconds
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }

  # A new version may write before its table has changed: fields without a column are dropped.
  bigquery_config {
    table               = "${google_bigquery_table.history.project}.${google_bigquery_table.history.dataset_id}.${google_bigquery_table.history.table_id}"
    use_table_schema    = true
    drop_unknown_fields = true
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.this["dead"].id
    max_delivery_attempts = local.attempts
  }

  depends_on = [google_bigquery_table_iam_member.history, google_pubsub_topic_iam_binding.publisher]
}

resource "google_pubsub_subscription_iam_binding" "history" {
  subscription = google_pubsub_subscription.history.id
  role         = "roles/pubsub.subscriber"
  members      = [local.agents.pubsub]
}
