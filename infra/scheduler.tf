# The clock: what nobody says, only time tells.

locals {
  clocks = merge(
    { tick = { does = "Lets `watch` look for what did not happen", schedule = "* * * * *", topic = "ticks" } },
    var.repository == null ? {} : {
      drift = { does = "Compares what is there with what was deployed", schedule = "17 * * * *", topic = "drift-check" }
    },
  )
}

resource "google_cloud_scheduler_job" "this" {
  for_each = local.clocks

  name        = "${var.prefix}-${each.key}"
  description = each.value.does
  region      = var.location.region
  schedule    = each.value.schedule
  time_zone   = "Etc/UTC"
  paused      = false

  # A push without data is refused by functions that are written for events.
  pubsub_target {
    topic_name = google_pubsub_topic.this[each.value.topic].id
    data       = base64encode(jsonencode({ clock = each.key }))
  }

  depends_on = [google_pubsub_topic_iam_binding.publisher]
}
