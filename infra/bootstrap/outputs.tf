output "accounts" {
  description = "The accounts that deploy and that check for drift."
  value       = { for name, account in google_service_account.build : name => account.email }
}

output "buckets" {
  description = "The buckets of Terraform's state and of the source archives."
  value       = { for name, bucket in google_storage_bucket.this : name => bucket.name }
}
