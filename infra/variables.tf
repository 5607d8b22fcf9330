variable "access" {
  description = <<-EOT
    Access for people and programs, as IAM members.
    acknowledge: who may open acknowledge links; with ["allUsers"] the link's signature is the only protection.
    consumers: who may subscribe to go-signals, by "pipeline/phase".
    preflight: who may ask whether a phase may start.
    publishers: who may report completions, by "pipeline/phase".
  EOT
  type = object({
    acknowledge = optional(set(string), [])
    consumers   = optional(map(set(string)), {})
    preflight   = optional(set(string), [])
    publishers  = optional(map(set(string)), {})
  })
  default  = {}
  nullable = false

  validation {
    condition     = length(setsubtract(concat(keys(var.access.consumers), keys(var.access.publishers)), keys(local.phases))) == 0
    error_message = "access names phases that are in no pipeline file; known phases: ${join(", ", keys(local.phases))}."
  }
}

variable "adopt_data" {
  description = "Take over the state and history that an earlier `make destroy` kept, instead of creating them."
  type        = bool
  default     = false
  nullable    = false
}

variable "alerting" {
  description = <<-EOT
    Who gets alerts of Cloud Monitoring about phasegate itself. Alerts about pipelines go where the pipeline files say.
    channels: existing notification channels, as projects/PROJECT/notificationChannels/ID.
    email_to: addresses to create channels for.
  EOT
  type = object({
    channels = optional(set(string), [])
    email_to = optional(set(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for address in var.alerting.email_to : can(regex("^[^@\\s]+@[^@\\s]+$", address))])
    error_message = "alerting.email_to must hold mail addresses."
  }
}

variable "archive" {
  description = <<-EOT
    The source of all functions, built by `infra/archive.py`; it must be in the bucket as source/DIGEST.zip.
    bucket: the bucket from `make bootstrap`.
    digest: the SHA-256 of the archive, in hexadecimal digits.
  EOT
  type = object({
    bucket = string
    digest = string
  })
  nullable = false

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.archive.digest))
    error_message = "archive.digest must be 64 hexadecimal digits."
  }
}

variable "environment" {
  description = "Further environment variables for every function, for settings without a variable here."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.environment), keys(local.environment))) == 0
    error_message = "environment must not contain variables that the module sets: ${join(", ", keys(local.environment))}."
  }
}

variable "existing_topics" {
  description = <<-EOT
    Existing topics to use instead of new ones, as projects/PROJECT/topics/NAME: for completions by "pipeline/phase", for
    cloud-builds by "builds".
  EOT
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for topic in values(var.existing_topics) : can(regex("^projects/[^/]+/topics/[^/]+$", topic))])
    error_message = "existing_topics must have values like projects/PROJECT/topics/NAME."
  }
  validation {
    condition     = length(setsubtract(keys(var.existing_topics), concat(["builds"], keys(local.phases)))) == 0
    error_message = "existing_topics has unknown keys; known keys: builds, ${join(", ", keys(local.phases))}."
  }
}

variable "keep_data" {
  description = "Protect the state database and the history from deletion. `make destroy DATA=delete` turns it off first."
  type        = bool
  default     = true
  nullable    = false
}

variable "labels" {
  description = "Labels for every resource that can have them."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for value in values(var.labels) : value != ""])
    error_message = "labels must not be empty: the API drops empty ones, and every plan would show a change."
  }
}

variable "location" {
  description = <<-EOT
    Locations.
    bigquery: of the history; a subscription can write to any location within one project.
    firestore: of the state, which can't be moved later: https://cloud.google.com/firestore/docs/locations.
    region: of functions, scheduler and builds.
  EOT
  type = object({
    bigquery  = optional(string, "US")
    firestore = optional(string, "nam5")
    region    = optional(string, "us-central1")
  })
  default  = {}
  nullable = false
}

variable "pipelines" {
  description = "The folder of pipeline files, relative to this one. `make deploy` always puts shared/pipelines into the archive."
  type        = string
  default     = "../shared/pipelines"
  nullable    = false
}

variable "prefix" {
  description = "The start of every name; gives several installations in one project different names."
  type        = string
  default     = "phasegate"
  nullable    = false

  validation {
    # The longest account name is <prefix>-alert-dispatch, and an account name has at most 30 characters.
    condition     = can(regex("^[a-z][a-z0-9-]{2,13}[a-z0-9]$", var.prefix))
    error_message = "prefix must have 4 to 15 lower-case letters, digits and dashes, start with a letter and not end with a dash."
  }
}

variable "project" {
  description = "The project of all resources."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project must be a project id, not a name or a number."
  }
}

variable "repository" {
  description = <<-EOT
    The repository that Cloud Build deploys, with an hourly drift check; without it there is neither.
    approval: whether a person must approve each deployment.
    branch: the branch to deploy.
    connection: its link in Cloud Build, as projects/PROJECT/locations/REGION/connections/NAME/repositories/NAME.
    settings: its file with these variables, relative to infra/; a deployment without them would remove the triggers.
  EOT
  type = object({
    approval   = optional(bool, false)
    branch     = optional(string, "main")
    connection = string
    settings   = string
  })
  default = null

  validation {
    condition = var.repository == null ? true : can(
      regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.repository.connection)
    )
    error_message = "repository.connection must be like projects/PROJECT/locations/REGION/connections/NAME/repositories/NAME."
  }
  validation {
    condition     = var.repository == null ? true : endswith(var.repository.settings, ".tfvars")
    error_message = "repository.settings must name a .tfvars file in the repository."
  }
}

variable "warehouse" {
  description = <<-EOT
    Where the pipelines' tables are.
    create_datasets: create the datasets that the pipeline files name; for trials in an empty project.
    datasets: further datasets that checks read, as DATASET or PROJECT.DATASET: those that only SQL in a pipeline file names.
    location: where queries run; where the tables are, when left out.
    maximum_bytes_billed: the most bytes that one query may be billed.
    project: the project of tables named DATASET.TABLE, which also pays for queries; `project`, when left out.
  EOT
  type = object({
    create_datasets      = optional(bool, false)
    datasets             = optional(set(string), [])
    location             = optional(string)
    maximum_bytes_billed = optional(number, 107374182400)
    project              = optional(string)
  })
  default  = {}
  nullable = false
}
