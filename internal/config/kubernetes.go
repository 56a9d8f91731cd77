package config

import "time"

// Kubernetes is [runners.kubernetes]: how jobs run in pods. Quantities are in Kubernetes' notation.
type Kubernetes struct {
	Host                                              string                   `toml:"host" flag:"host" env:"KUBERNETES_HOST"`
	Context                                           string                   `toml:"context" flag:"context" env:"KUBECTL_CONTEXT"`
	CertFile                                          string                   `toml:"cert_file" flag:"cert-file" env:"KUBERNETES_CERT_FILE"`
	KeyFile                                           string                   `toml:"key_file" flag:"key-file" env:"KUBERNETES_KEY_FILE"`
	CAFile                                            string                   `toml:"ca_file" flag:"ca-file" env:"KUBERNETES_CA_FILE"`
	BearerTokenOverwriteAllowed                       bool                     `toml:"bearer_token_overwrite_allowed" flag:"bearer_token_overwrite_allowed" env:"KUBERNETES_BEARER_TOKEN_OVERWRITE_ALLOWED" state:"todo"`
	BearerToken                                       string                   `toml:"bearer_token" flag:"bearer_token" env:"KUBERNETES_BEARER_TOKEN"`
	Image                                             string                   `toml:"image" flag:"image" env:"KUBERNETES_IMAGE"`
	Namespace                                         string                   `toml:"namespace" flag:"namespace" env:"KUBERNETES_NAMESPACE"`
	NamespaceOverwriteAllowed                         string                   `toml:"namespace_overwrite_allowed" flag:"namespace_overwrite_allowed" env:"KUBERNETES_NAMESPACE_OVERWRITE_ALLOWED"`
	NamespacePerJob                                   bool                     `toml:"namespace_per_job" flag:"namespace_per_job" env:"KUBERNETES_NAMESPACE_PER_JOB" state:"todo"`
	Privileged                                        *bool                    `toml:"privileged" flag:"privileged" env:"KUBERNETES_PRIVILEGED"`
	RuntimeClassName                                  *string                  `toml:"runtime_class_name" flag:"runtime-class-name" env:"KUBERNETES_RUNTIME_CLASS_NAME"`
	AllowPrivilegeEscalation                          *bool                    `toml:"allow_privilege_escalation" flag:"allow-privilege-escalation" env:"KUBERNETES_ALLOW_PRIVILEGE_ESCALATION"`
	CPULimit                                          string                   `toml:"cpu_limit" flag:"cpu-limit" env:"KUBERNETES_CPU_LIMIT"`
	CPULimitOverwriteMaxAllowed                       string                   `toml:"cpu_limit_overwrite_max_allowed" flag:"cpu-limit-overwrite-max-allowed" env:"KUBERNETES_CPU_LIMIT_OVERWRITE_MAX_ALLOWED"`
	CPURequest                                        string                   `toml:"cpu_request" flag:"cpu-request" env:"KUBERNETES_CPU_REQUEST"`
	CPURequestOverwriteMaxAllowed                     string                   `toml:"cpu_request_overwrite_max_allowed" flag:"cpu-request-overwrite-max-allowed" env:"KUBERNETES_CPU_REQUEST_OVERWRITE_MAX_ALLOWED"`
	MemoryLimit                                       string                   `toml:"memory_limit" flag:"memory-limit" env:"KUBERNETES_MEMORY_LIMIT"`
	MemoryLimitOverwriteMaxAllowed                    string                   `toml:"memory_limit_overwrite_max_allowed" flag:"memory-limit-overwrite-max-allowed" env:"KUBERNETES_MEMORY_LIMIT_OVERWRITE_MAX_ALLOWED"`
	MemoryRequest                                     string                   `toml:"memory_request" flag:"memory-request" env:"KUBERNETES_MEMORY_REQUEST"`
	MemoryRequestOverwriteMaxAllowed                  string                   `toml:"memory_request_overwrite_max_allowed" flag:"memory-request-overwrite-max-allowed" env:"KUBERNETES_MEMORY_REQUEST_OVERWRITE_MAX_ALLOWED"`
	EphemeralStorageLimit                             string                   `toml:"ephemeral_storage_limit" flag:"ephemeral-storage-limit" env:"KUBERNETES_EPHEMERAL_STORAGE_LIMIT"`
	EphemeralStorageLimitOverwriteMaxAllowed          string                   `toml:"ephemeral_storage_limit_overwrite_max_allowed" flag:"ephemeral-storage-limit-overwrite-max-allowed" env:"KUBERNETES_EPHEMERAL_STORAGE_LIMIT_OVERWRITE_MAX_ALLOWED"`
	EphemeralStorageRequest                           string                   `toml:"ephemeral_storage_request" flag:"ephemeral-storage-request" env:"KUBERNETES_EPHEMERAL_STORAGE_REQUEST"`
	EphemeralStorageRequestOverwriteMaxAllowed        string                   `toml:"ephemeral_storage_request_overwrite_max_allowed" flag:"ephemeral-storage-request-overwrite-max-allowed" env:"KUBERNETES_EPHEMERAL_STORAGE_REQUEST_OVERWRITE_MAX_ALLOWED"`
	ServiceCPULimit                                   string                   `toml:"service_cpu_limit" flag:"service-cpu-limit" env:"KUBERNETES_SERVICE_CPU_LIMIT"`
	ServiceCPULimitOverwriteMaxAllowed                string                   `toml:"service_cpu_limit_overwrite_max_allowed" flag:"service-cpu-limit-overwrite-max-allowed" env:"KUBERNETES_SERVICE_CPU_LIMIT_OVERWRITE_MAX_ALLOWED"`
	ServiceCPURequest                                 string                   `toml:"service_cpu_request" flag:"service-cpu-request" env:"KUBERNETES_SERVICE_CPU_REQUEST"`
	ServiceCPURequestOverwriteMaxAllowed              string                   `toml:"service_cpu_request_overwrite_max_allowed" flag:"service-cpu-request-overwrite-max-allowed" env:"KUBERNETES_SERVICE_CPU_REQUEST_OVERWRITE_MAX_ALLOWED"`
	ServiceMemoryLimit                                string                   `toml:"service_memory_limit" flag:"service-memory-limit" env:"KUBERNETES_SERVICE_MEMORY_LIMIT"`
	ServiceMemoryLimitOverwriteMaxAllowed             string                   `toml:"service_memory_limit_overwrite_max_allowed" flag:"service-memory-limit-overwrite-max-allowed" env:"KUBERNETES_SERVICE_MEMORY_LIMIT_OVERWRITE_MAX_ALLOWED"`
	ServiceMemoryRequest                              string                   `toml:"service_memory_request" flag:"service-memory-request" env:"KUBERNETES_SERVICE_MEMORY_REQUEST"`
	ServiceMemoryRequestOverwriteMaxAllowed           string                   `toml:"service_memory_request_overwrite_max_allowed" flag:"service-memory-request-overwrite-max-allowed" env:"KUBERNETES_SERVICE_MEMORY_REQUEST_OVERWRITE_MAX_ALLOWED"`
	ServiceEphemeralStorageLimit                      string                   `toml:"service_ephemeral_storage_limit" flag:"service-ephemeral_storage-limit" env:"KUBERNETES_SERVICE_EPHEMERAL_STORAGE_LIMIT"`
	ServiceEphemeralStorageLimitOverwriteMaxAllowed   string                   `toml:"service_ephemeral_storage_limit_overwrite_max_allowed" flag:"service-ephemeral_storage-limit-overwrite-max-allowed" env:"KUBERNETES_SERVICE_EPHEMERAL_STORAGE_LIMIT_OVERWRITE_MAX_ALLOWED"`
	ServiceEphemeralStorageRequest                    string                   `toml:"service_ephemeral_storage_request" flag:"service-ephemeral_storage-request" env:"KUBERNETES_SERVICE_EPHEMERAL_STORAGE_REQUEST"`
	ServiceEphemeralStorageRequestOverwriteMaxAllowed string                   `toml:"service_ephemeral_storage_request_overwrite_max_allowed" flag:"service-ephemeral_storage-request-overwrite-max-allowed" env:"KUBERNETES_SERVICE_EPHEMERAL_STORAGE_REQUEST_OVERWRITE_MAX_ALLOWED"`
	HelperCPULimit                                    string                   `toml:"helper_cpu_limit" flag:"helper-cpu-limit" env:"KUBERNETES_HELPER_CPU_LIMIT"`
	HelperCPULimitOverwriteMaxAllowed                 string                   `toml:"helper_cpu_limit_overwrite_max_allowed" flag:"helper-cpu-limit-overwrite-max-allowed" env:"KUBERNETES_HELPER_CPU_LIMIT_OVERWRITE_MAX_ALLOWED"`
	HelperCPURequest                                  string                   `toml:"helper_cpu_request" flag:"helper-cpu-request" env:"KUBERNETES_HELPER_CPU_REQUEST"`
	HelperCPURequestOverwriteMaxAllowed               string                   `toml:"helper_cpu_request_overwrite_max_allowed" flag:"helper-cpu-request-overwrite-max-allowed" env:"KUBERNETES_HELPER_CPU_REQUEST_OVERWRITE_MAX_ALLOWED"`
	HelperMemoryLimit                                 string                   `toml:"helper_memory_limit" flag:"helper-memory-limit" env:"KUBERNETES_HELPER_MEMORY_LIMIT"`
	HelperMemoryLimitOverwriteMaxAllowed              string                   `toml:"helper_memory_limit_overwrite_max_allowed" flag:"helper-memory-limit-overwrite-max-allowed" env:"KUBERNETES_HELPER_MEMORY_LIMIT_OVERWRITE_MAX_ALLOWED"`
	HelperMemoryRequest                               string                   `toml:"helper_memory_request" flag:"helper-memory-request" env:"KUBERNETES_HELPER_MEMORY_REQUEST"`
	HelperMemoryRequestOverwriteMaxAllowed            string                   `toml:"helper_memory_request_overwrite_max_allowed" flag:"helper-memory-request-overwrite-max-allowed" env:"KUBERNETES_HELPER_MEMORY_REQUEST_OVERWRITE_MAX_ALLOWED"`
	HelperEphemeralStorageLimit                       string                   `toml:"helper_ephemeral_storage_limit" flag:"helper-ephemeral_storage-limit" env:"KUBERNETES_HELPER_EPHEMERAL_STORAGE_LIMIT"`
	HelperEphemeralStorageLimitOverwriteMaxAllowed    string                   `toml:"helper_ephemeral_storage_limit_overwrite_max_allowed" flag:"helper-ephemeral_storage-limit-overwrite-max-allowed" env:"KUBERNETES_HELPER_EPHEMERAL_STORAGE_LIMIT_OVERWRITE_MAX_ALLOWED"`
	HelperEphemeralStorageRequest                     string                   `toml:"helper_ephemeral_storage_request" flag:"helper-ephemeral_storage-request" env:"KUBERNETES_HELPER_EPHEMERAL_STORAGE_REQUEST"`
	HelperEphemeralStorageRequestOverwriteMaxAllowed  string                   `toml:"helper_ephemeral_storage_request_overwrite_max_allowed" flag:"helper-ephemeral_storage-request-overwrite-max-allowed" env:"KUBERNETES_HELPER_EPHEMERAL_STORAGE_REQUEST_OVERWRITE_MAX_ALLOWED"`
	PodCPULimit                                       string                   `toml:"pod_cpu_limit" flag:"pod-cpu-limit" env:"KUBERNETES_POD_CPU_LIMIT"`
	PodCPULimitOverwriteMaxAllowed                    string                   `toml:"pod_cpu_limit_overwrite_max_allowed" flag:"pod-cpu-limit-overwrite-max-allowed" env:"KUBERNETES_POD_CPU_LIMIT_OVERWRITE_MAX_ALLOWED"`
	PodCPURequest                                     string                   `toml:"pod_cpu_request" flag:"pod-cpu-request" env:"KUBERNETES_POD_CPU_REQUEST"`
	PodCPURequestOverwriteMaxAllowed                  string                   `toml:"pod_cpu_request_overwrite_max_allowed" flag:"pod-cpu-request-overwrite-max-allowed" env:"KUBERNETES_POD_CPU_REQUEST_OVERWRITE_MAX_ALLOWED"`
	PodMemoryLimit                                    string                   `toml:"pod_memory_limit" flag:"pod-memory-limit" env:"KUBERNETES_POD_MEMORY_LIMIT"`
	PodMemoryLimitOverwriteMaxAllowed                 string                   `toml:"pod_memory_limit_overwrite_max_allowed" flag:"pod-memory-limit-overwrite-max-allowed" env:"KUBERNETES_POD_MEMORY_LIMIT_OVERWRITE_MAX_ALLOWED"`
	PodMemoryRequest                                  string                   `toml:"pod_memory_request" flag:"pod-memory-request" env:"KUBERNETES_POD_MEMORY_REQUEST"`
	PodMemoryRequestOverwriteMaxAllowed               string                   `toml:"pod_memory_request_overwrite_max_allowed" flag:"pod-memory-request-overwrite-max-allowed" env:"KUBERNETES_POD_MEMORY_REQUEST_OVERWRITE_MAX_ALLOWED"`
	AllowedImages                                     []string                 `toml:"allowed_images" flag:"allowed-images" env:"KUBERNETES_ALLOWED_IMAGES"`
	AllowedPullPolicies                               StringList               `toml:"allowed_pull_policies" flag:"allowed-pull-policies" env:"KUBERNETES_ALLOWED_PULL_POLICIES"`
	AllowedServices                                   []string                 `toml:"allowed_services" flag:"allowed-services" env:"KUBERNETES_ALLOWED_SERVICES"`
	AllowedUsers                                      []string                 `toml:"allowed_users" flag:"allowed-users" env:"KUBERNETES_ALLOWED_USERS"`
	AllowedGroups                                     []string                 `toml:"allowed_groups" flag:"allowed-groups" env:"KUBERNETES_ALLOWED_GROUPS"`
	PullPolicy                                        StringList               `toml:"pull_policy" flag:"pull-policy" env:"KUBERNETES_PULL_POLICY"`
	NodeSelector                                      map[string]string        `toml:"node_selector" flag:"node-selector" env:"KUBERNETES_NODE_SELECTOR"`
	NodeSelectorOverwriteAllowed                      string                   `toml:"node_selector_overwrite_allowed" flag:"node_selector_overwrite_allowed" env:"KUBERNETES_NODE_SELECTOR_OVERWRITE_ALLOWED"`
	NodeTolerations                                   map[string]string        `toml:"node_tolerations" flag:"node-tolerations" env:"KUBERNETES_NODE_TOLERATIONS"`
	NodeTolerationsOverwriteAllowed                   string                   `toml:"node_tolerations_overwrite_allowed" flag:"node_tolerations_overwrite_allowed" env:"KUBERNETES_NODE_TOLERATIONS_OVERWRITE_ALLOWED"`
	Affinity                                          Opaque                   `toml:"affinity"`
	ImagePullSecrets                                  []string                 `toml:"image_pull_secrets" flag:"image-pull-secrets" env:"KUBERNETES_IMAGE_PULL_SECRETS"`
	UseServiceAccountImagePullSecrets                 bool                     `toml:"use_service_account_image_pull_secrets" flag:"use-service-account-image-pull-secrets" env:"KUBERNETES_USE_SERVICE_ACCOUNT_IMAGE_PULL_SECRETS"`
	HelperImage                                       string                   `toml:"helper_image" flag:"helper-image" env:"KUBERNETES_HELPER_IMAGE"`
	HelperImageFlavor                                 string                   `toml:"helper_image_flavor" flag:"helper-image-flavor" env:"KUBERNETES_HELPER_IMAGE_FLAVOR"`
	HelperImageAutosetArchAndOS                       bool                     `toml:"helper_image_autoset_arch_and_os" flag:"helper-image-autoset-arch-and-os" env:"KUBERNETES_HELPER_IMAGE_AUTOSET_ARCH_AND_OS"`
	PodTerminationGracePeriodSeconds                  *int64                   `toml:"pod_termination_grace_period_seconds" flag:"pod_termination_grace_period_seconds" env:"KUBERNETES_POD_TERMINATION_GRACE_PERIOD_SECONDS"`
	CleanupGracePeriodSeconds                         *int64                   `toml:"cleanup_grace_period_seconds" flag:"cleanup_grace_period_seconds" env:"KUBERNETES_CLEANUP_GRACE_PERIOD_SECONDS"`
	CleanupResourcesTimeout                           *time.Duration           `toml:"cleanup_resources_timeout" flag:"cleanup_resources_timeout" env:"KUBERNETES_CLEANUP_RESOURCES_TIMEOUT"`
	PollInterval                                      int                      `toml:"poll_interval" flag:"poll-interval" env:"KUBERNETES_POLL_INTERVAL"`
	PollTimeout                                       int                      `toml:"poll_timeout" flag:"poll-timeout" env:"KUBERNETES_POLL_TIMEOUT"`
	ResourceAvailabilityCheckMaxAttempts              int                      `toml:"resource_availability_check_max_attempts" flag:"resource-availability-check-max-attempts" env:"KUBERNETES_RESOURCE_AVAILABILITY_CHECK_MAX_ATTEMPTS"`
	RetryLimit                                        int                      `toml:"retry_limit" flag:"retry-limit" env:"KUBERNETES_REQUEST_RETRY_LIMIT"`
	RetryBackoffMax                                   int                      `toml:"retry_backoff_max" flag:"retry-backoff-max" env:"KUBERNETES_REQUEST_RETRY_BACKOFF_MAX"`
	RetryLimits                                       map[string]int           `toml:"retry_limits" flag:"retry-limits" env:"KUBERNETES_RETRY_LIMITS"`
	PodLabels                                         map[string]string        `toml:"pod_labels" flag:"pod-labels"`
	PodLabelsOverwriteAllowed                         string                   `toml:"pod_labels_overwrite_allowed" flag:"pod_labels_overwrite_allowed" env:"KUBERNETES_POD_LABELS_OVERWRITE_ALLOWED"`
	SchedulerName                                     string                   `toml:"scheduler_name" flag:"scheduler-name" env:"KUBERNETES_SCHEDULER_NAME"`
	ServiceAccount                                    string                   `toml:"service_account" flag:"service-account" env:"KUBERNETES_SERVICE_ACCOUNT"`
	ServiceAccountOverwriteAllowed                    string                   `toml:"service_account_overwrite_allowed" flag:"service_account_overwrite_allowed" env:"KUBERNETES_SERVICE_ACCOUNT_OVERWRITE_ALLOWED"`
	AutomountServiceAccountToken                      *bool                    `toml:"automount_service_account_token" flag:"automount-service-account-token" env:"KUBERNETES_AUTOMOUNT_SERVICE_ACCOUNT_TOKEN"`
	PodAnnotations                                    map[string]string        `toml:"pod_annotations" flag:"pod-annotations"`
	PodAnnotationsOverwriteAllowed                    string                   `toml:"pod_annotations_overwrite_allowed" flag:"pod_annotations_overwrite_allowed" env:"KUBERNETES_POD_ANNOTATIONS_OVERWRITE_ALLOWED"`
	PodSecurityContext                                PodSecurityContext       `toml:"pod_security_context" ns:"pod-security-context"`
	InitPermissionsContainerSecurityContext           ContainerSecurityContext `toml:"init_permissions_container_security_context" ns:"init_permissions_container_security_context"`
	BuildContainerSecurityContext                     ContainerSecurityContext `toml:"build_container_security_context" ns:"build_container_security_context"`
	HelperContainerSecurityContext                    ContainerSecurityContext `toml:"helper_container_security_context" ns:"helper_container_security_context"`
	ServiceContainerSecurityContext                   ContainerSecurityContext `toml:"service_container_security_context" ns:"service_container_security_context"`
	Volumes                                           Volumes                  `toml:"volumes"`
	HostAliases                                       HostAliases              `toml:"host_aliases" flag:"host_aliases"`
	Services                                          []Service                `toml:"services"`
	CapAdd                                            []string                 `toml:"cap_add" flag:"cap-add" env:"KUBERNETES_CAP_ADD"`
	CapDrop                                           []string                 `toml:"cap_drop" flag:"cap-drop" env:"KUBERNETES_CAP_DROP"`
	SuspendPVCSize                                    string                   `toml:"suspend_pvc_size" flag:"suspend-pvc-size" env:"KUBERNETES_SUSPEND_PVC_SIZE" state:"todo"`
	SuspendPVCStorageClass                            string                   `toml:"suspend_pvc_storage_class" flag:"suspend-pvc-storage-class" env:"KUBERNETES_SUSPEND_PVC_STORAGE_CLASS" state:"todo"`
	DNSPolicy                                         string                   `toml:"dns_policy" flag:"dns-policy" env:"KUBERNETES_DNS_POLICY"`
	DNSConfig                                         DNSConfig                `toml:"dns_config"`
	ContainerLifecycle                                Opaque                   `toml:"container_lifecycle" state:"todo"`
	PriorityClassName                                 string                   `toml:"priority_class_name" flag:"priority_class_name" env:"KUBERNETES_PRIORITY_CLASS_NAME"`
	PodSpec                                           []PodSpec                `toml:"pod_spec" state:"todo"`
	LogsBaseDir                                       string                   `toml:"logs_base_dir" flag:"logs-base-dir" env:"KUBERNETES_LOGS_BASE_DIR" state:"todo"`
	ScriptsBaseDir                                    string                   `toml:"scripts_base_dir" flag:"scripts-base-dir" env:"KUBERNETES_SCRIPTS_BASE_DIR" state:"todo"`
	PrintPodWarningEvents                             *bool                    `toml:"print_pod_warning_events" flag:"print-pod-warning-events" env:"KUBERNETES_PRINT_POD_WARNING_EVENTS"`
	PodDisruptionBudget                               *bool                    `toml:"pod_disruption_budget" flag:"pod-disruption-budget" env:"KUBERNETES_POD_DISRUPTION_BUDGET" state:"todo"`
	Autoscaler                                        Opaque                   `toml:"autoscaler" state:"todo"`
}
