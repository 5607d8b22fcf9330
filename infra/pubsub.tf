# Topics, the subscriptions that push to the functions, and dead letters.

locals {
  # By logical name; the resources' names start with `<prefix>-`, as in the code.
  topics = merge(
    merge([
      for phase in values(local.phases) : merge(
        {
          "${phase.stem}-complete" = { labels = phase.labels, publishers = [], retention = null }
          "${phase.stem}-go"       = { labels = phase.labels, publishers = local.publishers.go, retention = "604800s" }
          "${phase.stem}-dead"     = { labels = phase.labels, publishers = [local.agents.pubsub], retention = null }
        },
        phase.retries ? {
          "${phase.stem}-retry" = { labels = phase.labels, publishers = local.publishers.retry, retention = "604800s" }
        } : {},
      )
    ]...),
    {
      alerts      = { labels = {}, publishers = local.publishers.alerts, retention = null }
      builds      = { labels = {}, publishers = [], retention = null }
      dead        = { labels = {}, publishers = [local.agents.pubsub], retention = null }
      drift       = { labels = {}, publishers = [local.checker], retention = null }
      drift-check = { labels = {}, publishers = [local.agents.cloudscheduler], retention = null }
      events      = { labels = {}, publishers = local.publishers.events, retention = null }
      ticks       = { labels = {}, publishers = [local.agents.cloudscheduler], retention = null }
    },
  )

  existing = { for name, topic in var.existing_topics : try("${local.phases[name].stem}-complete", name) => topic }
  topic    = merge({ for name, topic in google_pubsub_topic.this : name => topic.id }, local.existing)

  agents = { for name, agent in google_project_service_identity.agent : name => agent.member }

  # The accounts that may publish, by kind of topic: the functions that list it under publishes.
  publishers = {
    for kind in toset(flatten([for function in local.functions : function.publishes])) : kind => [
      for name, function in local.functions : google_service_account.function[name].member if contains(function.publishes, kind)
    ]
  }

  # After `attempts` failed deliveries a message goes to the topic `dead`.
  subscriptions = merge(
    {
      for phase in values(local.phases) : "${phase.stem}-complete" => {
        dead = "${phase.stem}-dead", function = "phase_monitor", labels = phase.labels, ordered = false
      }
    },
    {
      # In order, so that a recovery does not arrive before its alert.
      alerts = { dead = "dead", function = "alert_dispatch", labels = {}, ordered = true }
      builds = { dead = "dead", function = "deploy_watch", labels = {}, ordered = false }
      drift  = { dead = "dead", function = "deploy_watch", labels = {}, ordered = false }
      ticks  = { dead = "dead", function = "watch", labels = {}, ordered = false }
    },
  )

  # The longest ack deadline that Pub/Sub offers; a function must take less. The default is 10 s.
  ack_seconds = 600
  # With the back-off below, enough for an outage of two hours and twenty minutes; 5, the default, last for minutes.
  attempts = 20
}

resource "google_pubsub_topic" "this" {
  for_each = { for name, topic in local.topics : name => topic if !contains(keys(local.existing), name) }

  # Cloud Build publishes only to a topic of this name.
  name                       = each.key == "builds" ? "cloud-builds" : "${var.prefix}-${each.key}"
  labels                     = each.value.labels
  message_retention_duration = each.value.retention

  depends_on = [time_sleep.ready]
}

resource "google_pubsub_topic_iam_binding" "publisher" {
  for_each = { for name, topic in local.topics : name => topic.publishers if length(topic.publishers) > 0 }

  topic   = google_pubsub_topic.this[each.key].id
  role    = "roles/pubsub.publisher"
  members = each.value
}

resource "google_pubsub_topic_iam_binding" "producer" {
  for_each = { for name, members in var.access.publishers : name => members if !contains(keys(var.existing_topics), name) }

  topic   = google_pubsub_topic.this["${local.phases[each.key].stem}-complete"].id
  role    = "roles/pubsub.publisher"
  members = each.value
}

resource "google_pubsub_topic_iam_binding" "consumer" {
  for_each = var.access.consumers

  topic   = google_pubsub_topic.this["${local.phases[each.key].stem}-go"].id
  role    = "roles/pubsub.subscriber"
  members = each.value
}

resource "google_pubsub_subscription" "push" {
  for_each = local.subscriptions

  name                       = "${var.prefix}-${each.key}"
  topic                      = local.topic[each.key]
  labels                     = each.value.labels
  ack_deadline_seconds       = local.ack_seconds
  enable_message_ordering    = each.value.ordered
  message_retention_duration = "604800s"

  # Without this, a subscription is deleted after 31 idle days; an off-season is longer.
  expiration_policy {
    ttl = ""
  }

  push_config {
    push_endpoint = local.endpoint[each.value.function]

    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = local.endpoint[each.value.function]
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.this[each.value.dead].id
    max_delivery_attempts = local.attempts
  }

  depends_on = [
    google_cloud_run_v2_service_iam_binding.push,
    google_pubsub_topic_iam_binding.publisher,
    google_service_account_iam_binding.deploy,
  ]
}

# To dead-letter a message, Pub/Sub acknowledges it here.
resource "google_pubsub_subscription_iam_binding" "push" {
  for_each = google_pubsub_subscription.push

  subscription = each.value.id
  role         = "roles/pubsub.subscriber"
  members      = [local.agents.pubsub]
}

# A dead-letter topic without a subscription loses its messages. They are retained for as long as Pub/Sub allows and tried
# until they are stored: there is no further dead-letter topic.
resource "google_pubsub_subscription" "dead" {
  for_each = toset(concat(["dead"], [for phase in values(local.phases) : "${phase.stem}-dead"]))

  name                       = "${var.prefix}-${each.key}"
  topic                      = google_pubsub_topic.this[each.key].id
  labels                     = local.topics[each.key].labels
  ack_deadline_seconds       = local.ack_seconds
  message_retention_duration = "2678400s"

  expiration_policy {
    ttl = ""
  }

  push_config {
    push_endpoint = local.endpoint.dead_letter

    oidc_token {
      service_account_email = google_service_account.push.email
      audience              = local.endpoint.dead_letter
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  depends_on = [google_cloud_run_v2_service_iam_binding.push]
}
