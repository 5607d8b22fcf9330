output "accounts" {
  description = "The service account of each function."
  value       = { for name, account in google_service_account.function : name => account.email }
}

output "acknowledge" {
  description = "The URL of the page behind acknowledge links: the setting PHASEGATE_ACKNOWLEDGE_URL."
  value       = local.endpoint.acknowledge
  depends_on  = [google_cloud_run_v2_service_iam_binding.acknowledge]
}

output "completion_topics" {
  description = "The topic to which producers report, by \"pipeline/phase\"."
  value       = { for name, phase in local.phases : name => local.topic["${phase.stem}-complete"] }
  depends_on  = [google_pubsub_subscription_iam_binding.push, google_pubsub_topic_iam_binding.producer]
}

output "go_topics" {
  description = "The topic of go-signals, by \"pipeline/phase\"."
  value       = { for name, phase in local.phases : name => local.topic["${phase.stem}-go"] }
  depends_on  = [google_pubsub_topic_iam_binding.consumer]
}

output "history" {
  description = "The table of all decisions."
  value       = "${google_bigquery_table.history.project}.${google_bigquery_table.history.dataset_id}.${google_bigquery_table.history.table_id}"
}

output "preflight" {
  description = "The URL that answers whether a phase may start."
  value       = local.endpoint.preflight
  depends_on  = [google_cloud_run_v2_service_iam_binding.preflight]
}

output "secrets" {
  description = "The secrets that the pipeline files name; each needs a version."
  value       = sort(local.secrets)
}

output "settings" {
  description = "The settings of every function. Export them to use the command line on the same installation."
  value       = merge(local.environment, var.environment)
}
