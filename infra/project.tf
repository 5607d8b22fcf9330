# What must be switched on before anything else, and the agents by which Google's own services act here.

locals {
  services = toset([
    "artifactregistry", "bigquery", "cloudbuild", "cloudfunctions", "cloudscheduler", "firestore", "iam", "logging", "monitoring",
    "pubsub", "run", "secretmanager",
  ])
}

# Not switched off by destroy: others may use them, too.
resource "google_project_service" "this" {
  for_each = local.services

  service = "${each.key}.googleapis.com"
}

resource "google_project_service_identity" "agent" {
  for_each = toset(["cloudscheduler", "pubsub"])
  provider = google-beta

  service = google_project_service.this[each.key].service
}

# An API or agent that was just made is not known everywhere yet; nothing tells when it is.
resource "time_sleep" "ready" {
  create_duration = "90s"
  triggers = {
    agents   = join(" ", [for agent in google_project_service_identity.agent : agent.email])
    services = join(" ", [for service in google_project_service.this : service.service])
  }
}
