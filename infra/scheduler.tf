# Scheduler jobs: the tick of every minute, and the hourly drift check.

locals {
  clocks = merge(
    { tick = { does = "Runs `watch`: overdue phases, reruns, unsent messages", schedule = "* * * * *", topic = "ticks" } },
    var.repository == null ? {} : {
      drift = { does = "Checks for drift from what was deployed", schedule = "17 * * * *", topic = "drift-check" }
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

  # The functions framework refuses a push without data.
  pubsub_target {
    topic_name = google_pubsub_topic.this[each.value.topic].id
    data       = base64encode(jsonencode({ clock = each.key }))
  }

  depends_on = [google_pubsub_topic_iam_binding.publisher]
}
