# APIs that must be enabled first, and the service agents of Google's own services.

locals {
  services = toset([
    "artifactregistry", "bigquery", "cloudbuild", "cloudfunctions", "cloudscheduler", "firestore", "iam", "logging", "monitoring",
    "pubsub", "run", "secretmanager",
  ])
}

# Destroy leaves them enabled: others may use them, too.
resource "google_project_service" "this" {
  for_each = local.services

  service = "${each.key}.googleapis.com"
}

resource "google_project_service_identity" "agent" {
  for_each = toset(["cloudscheduler", "pubsub"])
  provider = google-beta

  service = google_project_service.this[each.key].service
}

# A new API or agent takes a while to be known everywhere, and nothing reports when it is.
resource "time_sleep" "ready" {
  create_duration = "90s"
  triggers = {
    agents   = join(" ", [for agent in google_project_service_identity.agent : agent.email])
    services = join(" ", [for service in google_project_service.this : service.service])
  }
}
