output "accounts" {
  description = "Who deploys, and who looks for drift."
  value       = { for name, account in google_service_account.build : name => account.email }
}

output "buckets" {
  description = "Where Terraform's state is, and where the archives of the functions' source are."
  value       = { for name, bucket in google_storage_bucket.this : name => bucket.name }
}
