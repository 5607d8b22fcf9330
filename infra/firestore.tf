# The state: its own database, with the indexes and lifetimes that shared/phasegate/adapters/state/firestore.py needs.
# A test compares both with that file.

locals {
  # The indexes of each collection, as lists of fields; a dash means descending.
  indexes = {
    gates  = [["pipeline", "-run_date"], ["pipeline", "restless", "-run_date"]]
    outbox = [["shard", "created_at", "place", "next_at"], ["parked", "created_at", "place"]]
    records = [
      ["kind", "live", "key"],
      ["kind", "shard", "due"],
    ]
    rejected = [["shard", "-created_at"]]
  }

  # Documents here are deleted some time after `expires_at`. Gates stay.
  expiring    = ["handled", "history", "outbox", "records", "rejected"]
  collections = setunion(keys(local.indexes), local.expiring)
}

import {
  for_each = var.adopt_data ? [1] : []
  to       = google_firestore_database.state
  id       = "projects/${var.project}/databases/${var.prefix}"
}

resource "google_firestore_database" "state" {
  name                    = var.prefix
  location_id             = var.location.firestore
  type                    = "FIRESTORE_NATIVE"
  delete_protection_state = var.keep_data ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy         = "DELETE"

  depends_on = [time_sleep.ready]
}

resource "google_firestore_backup_schedule" "state" {
  database  = google_firestore_database.state.name
  retention = "1209600s"

  daily_recurrence {}
}

resource "google_firestore_index" "state" {
  for_each = merge([
    for collection, indexes in local.indexes : {
      for fields in indexes : "${collection}: ${join(", ", fields)}" => { collection = collection, fields = fields }
    }
  ]...)

  database   = google_firestore_database.state.name
  collection = each.value.collection

  # The API adds the document's name to every index, in the direction of the last field. Without it here, each plan would
  # replace the index.
  dynamic "fields" {
    for_each = concat(each.value.fields, [startswith(reverse(each.value.fields)[0], "-") ? "-__name__" : "__name__"])

    content {
      field_path = trimprefix(fields.value, "-")
      order      = startswith(fields.value, "-") ? "DESCENDING" : "ASCENDING"
    }
  }

  timeouts {
    create = "60m"
  }
}

# Automatic indexes are off: a collection with an indexed field that only rises takes 500 writes a second.
resource "google_firestore_field" "unindexed" {
  for_each = local.collections

  database   = google_firestore_database.state.name
  collection = each.key
  field      = "*"

  index_config {}

  timeouts {
    create = "60m"
    update = "60m"
    delete = "60m"
  }
}

resource "google_firestore_field" "expiry" {
  for_each = toset(local.expiring)

  database   = google_firestore_database.state.name
  collection = each.key
  field      = "expires_at"

  index_config {}
  ttl_config {}

  timeouts {
    create = "60m"
    update = "60m"
    delete = "60m"
  }

  # Firestore refuses two concurrent changes to the fields of one collection.
  depends_on = [google_firestore_field.unindexed]
}

# The role covers all databases of a project; the condition limits it to this one.
resource "google_project_iam_member" "state" {
  for_each = google_service_account.function

  project = var.project
  role    = "roles/datastore.user"
  member  = each.value.member

  condition {
    title      = "state_of_${replace(var.prefix, "-", "_")}"
    expression = "resource.name == \"projects/${var.project}/databases/${google_firestore_database.state.name}\""
  }
}
