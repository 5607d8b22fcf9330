terraform {
  required_version = ">= 1.11"

  # Location: -backend-config="bucket=…" -backend-config="prefix=…"
  backend "gcs" {}

  # Exact versions: an empty plan must not change because of a new provider.
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "7.45.0"
    }
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "7.45.0"
    }
    time = {
      source  = "hashicorp/time"
      version = "0.14.0"
    }
  }
}

provider "google" {
  project        = var.project
  region         = var.location.region
  default_labels = local.labels
}

provider "google-beta" {
  project = var.project
  region  = var.location.region
}
