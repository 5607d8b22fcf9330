variable "access" {
  description = <<-EOT
    Who may do what from outside, as IAM members.
    acknowledge: who may open the page behind the link in a message; ["allUsers"] leaves it to the link's signature.
    consumers: by "pipeline/phase", who may subscribe to its go-signals.
    preflight: who may ask whether a phase may start.
    publishers: by "pipeline/phase", who may report its completion.
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
    error_message = "access names phases that no pipeline file has; the known ones: ${join(", ", keys(local.phases))}."
  }
}

variable "adopt_data" {
  description = "Take over the state and history that an earlier `make destroy` kept, instead of making them."
  type        = bool
  default     = false
  nullable    = false
}

variable "alerting" {
  description = <<-EOT
    Whom Cloud Monitoring tells when phasegate itself is ill. Its own alerts about pipelines go where their files say.
    channels: notification channels that exist, as projects/PROJECT/notificationChannels/ID.
    email_to: addresses for which channels are made.
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
    The source of all functions, which `infra/archive.py` builds and which must be in the bucket as source/DIGEST.zip.
    bucket: the bucket that `make bootstrap` made.
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
  description = "Further environment variables of every function, for settings that have no variable here."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.environment), keys(local.environment))) == 0
    error_message = "environment may not name what is set here: ${join(", ", keys(local.environment))}."
  }
}

variable "existing_topics" {
  description = <<-EOT
    Topics that exist already and are to be listened to instead of making new ones, by "pipeline/phase" of the completions
    that they carry, or "builds" for cloud-builds; as projects/PROJECT/topics/NAME.
  EOT
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for topic in values(var.existing_topics) : can(regex("^projects/[^/]+/topics/[^/]+$", topic))])
    error_message = "existing_topics must hold topics as projects/PROJECT/topics/NAME."
  }
  validation {
    condition     = length(setsubtract(keys(var.existing_topics), concat(["builds"], keys(local.phases)))) == 0
    error_message = "existing_topics names what is not known; known: builds, ${join(", ", keys(local.phases))}."
  }
}

variable "keep_data" {
  description = "Protect the state database and the history from deletion. `make destroy DATA=delete` turns it off first."
  type        = bool
  default     = true
  nullable    = false
}

variable "labels" {
  description = "Labels that everything carries which can."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for value in values(var.labels) : value != ""])
    error_message = "labels may not be empty; the API would drop them, and every plan would differ."
  }
}

variable "location" {
  description = <<-EOT
    Where things are.
    bigquery: of the history; a subscription writes within one project, to any location.
    firestore: of the state, which can't be moved: https://cloud.google.com/firestore/docs/locations.
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
  description = "The folder of pipeline files, from this one. `make deploy` puts shared/pipelines into the archive, and no other."
  type        = string
  default     = "../shared/pipelines"
  nullable    = false
}

variable "prefix" {
  description = "Stands before every name, so that several installations fit into a project."
  type        = string
  default     = "phasegate"
  nullable    = false

  validation {
    # The longest account is <prefix>-alert-dispatch, and an account's name has at most 30 characters.
    condition     = can(regex("^[a-z][a-z0-9-]{2,13}[a-z0-9]$", var.prefix))
    error_message = "prefix must have 4 to 15 lower-case letters, digits and dashes, begin with a letter and not end in a dash."
  }
}

variable "project" {
  description = "The project that everything is in."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project must be a project id, not a name or a number."
  }
}

variable "repository" {
  description = <<-EOT
    The repository from which Cloud Build deploys and which it checks for drift every hour; without, neither happens.
    approval: whether a person must approve each deployment.
    branch: its branch that is deployed.
    connection: its link in Cloud Build, as projects/PROJECT/locations/REGION/connections/NAME/repositories/NAME.
    settings: the file of variables in it, from infra/, that says all this; a deployment without it would take the triggers away.
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
    create_datasets: make the datasets that the pipeline files name; for trying phasegate out in an empty project.
    datasets: further datasets that checks read, as DATASET or PROJECT.DATASET: those that only SQL in a pipeline file names.
    location: where queries run; where the tables are, when left out.
    maximum_bytes_billed: what one query may be billed at most.
    project: the project of tables that are named DATASET.TABLE, which also pays the queries; the project itself when left out.
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
