variable "prefix" {
  description = "The prefix of the module, which this prepares."
  type        = string
  default     = "phasegate"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,13}[a-z0-9]$", var.prefix))
    error_message = "prefix must have 4 to 15 lower-case letters, digits and dashes, start with a letter and not end with a dash."
  }
}

variable "project" {
  description = "The project of all resources."
  type        = string
  nullable    = false
}

variable "region" {
  description = "The location of the buckets."
  type        = string
  default     = "us-central1"
  nullable    = false
}
