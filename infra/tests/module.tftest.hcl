# `terraform test`: what the module declares for its variables, and which values it refuses. Nothing is created.

variables {
  project = "demo-project"
  archive = {
    bucket = "demo-project-phasegate-source"
    digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  }
}

run "as_usual" {
  command = plan

  assert {
    condition     = google_pubsub_topic.this["flights-raw-go"].name == "phasegate-flights-raw-go"
    error_message = "A phase of a pipeline file has no go topic."
  }
  assert {
    condition     = alltrue([for subscription in google_pubsub_subscription.push : subscription.ack_deadline_seconds == 600])
    error_message = "A subscription has an ack deadline below ten minutes."
  }
  assert {
    condition     = google_firestore_database.state.delete_protection_state == "DELETE_PROTECTION_ENABLED"
    error_message = "The state may be deleted."
  }
  assert {
    condition     = length(google_cloudbuild_trigger.deploy) == 0 && !contains(keys(google_cloud_scheduler_job.this), "drift")
    error_message = "Without a repository there must be no triggers."
  }
}

run "in_another_place" {
  command = plan

  variables {
    prefix    = "gates"
    location  = { region = "europe-west1", firestore = "eur3", bigquery = "EU" }
    warehouse = { project = "warehouse-project", location = "EU", maximum_bytes_billed = 1000000000 }
  }

  assert {
    condition     = output.settings.PHASEGATE_WAREHOUSE == "bigquery:warehouse-project/EU"
    error_message = "Queries run elsewhere."
  }
  assert {
    condition     = output.settings.PHASEGATE_MAXIMUM_BYTES_BILLED == "1000000000"
    error_message = "A query may cost more than the limit."
  }
  assert {
    condition     = output.settings.PHASEGATE_BUS == "pubsub:demo-project/gates"
    error_message = "The functions publish to topics of another installation."
  }
  assert {
    condition     = alltrue([for function in google_cloudfunctions2_function.this : function.location == "europe-west1"])
    error_message = "A function is in another region."
  }
}

run "wrong_names_are_refused" {
  command = plan

  variables {
    prefix  = "Gates-"
    project = "x"
  }

  expect_failures = [var.prefix, var.project]
}

run "wrong_values_are_refused" {
  command = plan

  variables {
    access          = { consumers = { "flights/nothing" = ["group:data@example.com"] } }
    alerting        = { email_to = ["nobody"] }
    archive         = { bucket = "b", digest = "main" }
    existing_topics = { "flights/raw" = "done" }
    labels          = { team = "" }
    repository      = { connection = "github.com/me/mine", settings = "production.tfvars" }
  }

  expect_failures = [
    var.access, var.alerting, var.archive, var.existing_topics, var.labels, var.repository,
  ]
}

# Separate, because Terraform does not evaluate this condition once another variable is refused.
run "settings_of_the_module_are_not_set_twice" {
  command = plan

  variables {
    environment = { PHASEGATE_STATE = "sqlite:x" }
  }

  expect_failures = [var.environment]
}
