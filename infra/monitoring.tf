# Alerts of Cloud Monitoring about phasegate itself, which must not depend on phasegate. Filters use the prefix of names, so a
# new phase needs no change here.

locals {
  channels = concat(sort(var.alerting.channels), [for channel in google_monitoring_notification_channel.email : channel.id])

  subscription = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = starts_with(\"${var.prefix}-\")"
  service      = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = starts_with(\"${var.prefix}-\")"

  # Fires when the value over the period `over` stays above `above` for the time `lasting`.
  illnesses = {
    dead_letter = {
      title    = "messages were dead-lettered"
      severity = "ERROR"
      metric   = "metric.type = \"pubsub.googleapis.com/subscription/dead_letter_message_count\" AND ${local.subscription}"
      above    = 0, over = "300s", aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", by = ["resource.labels.subscription_id"], lasting = "0s"
      next     = "`phasegate replay` lists and replays what the function dead_letter stored. Its log names what it could not store."
    }
    dead_depth = {
      title    = "dead letters are not stored"
      severity = "CRITICAL"
      metric   = "metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = monitoring.regex.full_match(\"${var.prefix}-(.*-)?dead\")"
      above    = 0, over = "300s", aligner = "ALIGN_MIN", reducer = "REDUCE_SUM", by = ["resource.labels.subscription_id"], lasting = "900s"
      next     = "The function dead_letter fails; see its log. Messages are retained for 31 days."
    }
    backlog = {
      title    = "messages have waited for an hour"
      severity = "CRITICAL"
      metric   = "metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND ${local.subscription}"
      above    = 3600, over = "300s", aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", by = ["resource.labels.subscription_id"], lasting = "0s"
      next     = "The function of the subscription fails or is not called: see its log, then run `phasegate doctor`."
    }
    errors = {
      title    = "a function fails"
      severity = "ERROR"
      metric   = "metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code_class = \"5xx\" AND ${local.service}"
      above    = 5, over = "600s", aligner = "ALIGN_SUM", reducer = "REDUCE_SUM", by = ["resource.labels.service_name"], lasting = "0s"
      next     = "See its log. Messages are redelivered for two hours and then dead-lettered."
    }
  }

  # Fires when nothing is reported for the time `within`.
  pulses = merge(
    {
      tick = {
        title    = "the scheduler has stopped"
        severity = "CRITICAL"
        within   = "600s"
        metric   = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.heartbeat.name}\" AND metric.labels.function = \"watch\" AND resource.type = \"cloud_run_revision\""
        next     = "No tick has finished for ten minutes: is the scheduler job paused, or does the function watch fail? Run `phasegate doctor`."
      }
    },
    var.repository == null ? {} : {
      drift = {
        title    = "the drift check does not run"
        severity = "ERROR"
        within   = "10800s"
        metric   = "metric.type = \"pubsub.googleapis.com/subscription/push_request_count\" AND metric.labels.response_class = \"ack\" AND resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.push["drift"].name}\""
        next     = "No result for three hours: the build of cloudbuild-drift.yaml fails or does not start."
      }
    },
  )
}

# A function logs a heartbeat when its work is done. A count of calls would hide work that fails.
resource "google_logging_metric" "heartbeat" {
  name             = "${var.prefix}-heartbeat"
  description      = "Work that functions of phasegate have finished"
  filter           = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=~\"^${var.prefix}-\" AND jsonPayload.event=\"heartbeat\""
  label_extractors = { function = "EXTRACT(jsonPayload.function)" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    labels {
      key        = "function"
      value_type = "STRING"
    }
  }

  depends_on = [time_sleep.ready]
}

resource "google_monitoring_notification_channel" "email" {
  for_each = var.alerting.email_to

  display_name = "phasegate: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }

  depends_on = [time_sleep.ready]
}

resource "google_monitoring_alert_policy" "illness" {
  for_each = local.illnesses

  display_name          = "${var.prefix}: ${each.value.title}"
  combiner              = "OR"
  enabled               = true
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter          = each.value.metric
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.above
      duration        = each.value.lasting

      aggregations {
        alignment_period     = each.value.over
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
        group_by_fields      = each.value.by
      }
    }
  }

  documentation {
    content   = each.value.next
    mime_type = "text/markdown"
  }

  depends_on = [time_sleep.ready]
}

resource "google_monitoring_alert_policy" "pulse" {
  for_each = local.pulses

  display_name          = "${var.prefix}: ${each.value.title}"
  combiner              = "OR"
  enabled               = true
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = each.value.title

    condition_absent {
      filter   = each.value.metric
      duration = each.value.within

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content   = each.value.next
    mime_type = "text/markdown"
  }
}

locals {
  charts = [
    {
      title  = "Requests by function", by = "resource.labels.service_name", aligner = "ALIGN_RATE", reducer = "REDUCE_SUM"
      metric = "metric.type = \"run.googleapis.com/request_count\" AND ${local.service}"
    },
    {
      title  = "Failed requests by function", by = "resource.labels.service_name", aligner = "ALIGN_RATE", reducer = "REDUCE_SUM"
      metric = local.illnesses.errors.metric
    },
    {
      title  = "Request latency, 95th percentile", by = "resource.labels.service_name", aligner = "ALIGN_PERCENTILE_95", reducer = "REDUCE_MAX"
      metric = "metric.type = \"run.googleapis.com/request_latencies\" AND ${local.service}"
    },
    {
      title  = "Age of the oldest waiting message", by = "resource.labels.subscription_id", aligner = "ALIGN_MAX", reducer = "REDUCE_MAX"
      metric = local.illnesses.backlog.metric
    },
    {
      title  = "Waiting messages", by = "resource.labels.subscription_id", aligner = "ALIGN_MAX", reducer = "REDUCE_SUM"
      metric = "metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND ${local.subscription}"
    },
    {
      title  = "Heartbeats by function", by = "metric.labels.function", aligner = "ALIGN_DELTA", reducer = "REDUCE_SUM"
      metric = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.heartbeat.name}\" AND resource.type = \"cloud_run_revision\""
    },
    {
      title  = "Dead-lettered messages", by = "resource.labels.subscription_id", aligner = "ALIGN_SUM", reducer = "REDUCE_SUM"
      metric = local.illnesses.dead_letter.metric
    },
  ]
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = jsonencode({
    displayName = var.prefix
    mosaicLayout = {
      columns = 12
      tiles = [for number, chart in local.charts : merge(
        {
          width  = 6
          height = 4
          widget = {
            title = chart.title
            xyChart = {
              dataSets = [{
                plotType = "LINE"
                timeSeriesQuery = {
                  timeSeriesFilter = {
                    filter = chart.metric
                    aggregation = {
                      alignmentPeriod    = "300s"
                      perSeriesAligner   = chart.aligner
                      crossSeriesReducer = chart.reducer
                      groupByFields      = [chart.by]
                    }
                  }
                }
              }]
            }
          }
        },
        # The API drops zeros, and every plan would find them missing.
        number % 2 == 0 ? {} : { xPos = 6 },
        number < 2 ? {} : { yPos = floor(number / 2) * 4 },
      )]
    }
  })

  depends_on = [time_sleep.ready]
}
