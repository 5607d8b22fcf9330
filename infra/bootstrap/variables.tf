variable "prefix" {
  description = "As in the module that this prepares."
  type        = string
  default     = "phasegate"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,13}[a-z0-9]$", var.prefix))
    error_message = "prefix must have 4 to 15 lower-case letters, digits and dashes, begin with a letter and not end in a dash."
  }
}

variable "project" {
  description = "The project that everything is in."
  type        = string
  nullable    = false
}

variable "region" {
  description = "Where the buckets are."
  type        = string
  default     = "us-central1"
  nullable    = false
}
