package config

// SSH is [runners.ssh].
type SSH struct {
	User                         string `toml:"user" flag:"user" env:"SSH_USER"`
	Password                     string `toml:"password" flag:"password" env:"SSH_PASSWORD"`
	Host                         string `toml:"host" flag:"host" env:"SSH_HOST"`
	Port                         string `toml:"port" flag:"port" env:"SSH_PORT"`
	IdentityFile                 string `toml:"identity_file" flag:"identity-file" env:"SSH_IDENTITY_FILE"`
	DisableStrictHostKeyChecking *bool  `toml:"disable_strict_host_key_checking" flag:"disable-strict-host-key-checking" env:"DISABLE_STRICT_HOST_KEY_CHECKING"`
	KnownHostsFile               string `toml:"known_hosts_file" flag:"known-hosts-file" env:"KNOWN_HOSTS_FILE"`
}

// Parallels is [runners.parallels].
type Parallels struct {
	BaseName         string   `toml:"base_name" flag:"base-name" env:"PARALLELS_BASE_NAME"`
	TemplateName     string   `toml:"template_name" flag:"template-name" env:"PARALLELS_TEMPLATE_NAME"`
	DisableSnapshots bool     `toml:"disable_snapshots" flag:"disable-snapshots" env:"PARALLELS_DISABLE_SNAPSHOTS"`
	TimeServer       string   `toml:"time_server" flag:"time-server" env:"PARALLELS_TIME_SERVER"`
	AllowedImages    []string `toml:"allowed_images" flag:"allowed-images" env:"PARALLELS_ALLOWED_IMAGES"`
}

// VirtualBox is [runners.virtualbox].
type VirtualBox struct {
	BaseName         string   `toml:"base_name" flag:"base-name" env:"VIRTUALBOX_BASE_NAME"`
	BaseSnapshot     string   `toml:"base_snapshot" flag:"base-snapshot" env:"VIRTUALBOX_BASE_SNAPSHOT"`
	BaseFolder       string   `toml:"base_folder" flag:"base-folder" env:"VIRTUALBOX_BASE_FOLDER"`
	DisableSnapshots bool     `toml:"disable_snapshots" flag:"disable-snapshots" env:"VIRTUALBOX_DISABLE_SNAPSHOTS"`
	AllowedImages    []string `toml:"allowed_images" flag:"allowed-images" env:"VIRTUALBOX_ALLOWED_IMAGES"`
	StartType        string   `toml:"start_type" flag:"start-type" env:"VIRTUALBOX_START_TYPE"`
}

// Custom is [runners.custom].
type Custom struct {
	ConfigExec          string   `toml:"config_exec" flag:"config-exec" env:"CUSTOM_CONFIG_EXEC"`
	ConfigArgs          []string `toml:"config_args" flag:"config-args"`
	ConfigExecTimeout   *int     `toml:"config_exec_timeout" flag:"config-exec-timeout" env:"CUSTOM_CONFIG_EXEC_TIMEOUT"`
	PrepareExec         string   `toml:"prepare_exec" flag:"prepare-exec" env:"CUSTOM_PREPARE_EXEC"`
	PrepareArgs         []string `toml:"prepare_args" flag:"prepare-args"`
	PrepareExecTimeout  *int     `toml:"prepare_exec_timeout" flag:"prepare-exec-timeout" env:"CUSTOM_PREPARE_EXEC_TIMEOUT"`
	RunExec             string   `toml:"run_exec" flag:"run-exec" env:"CUSTOM_RUN_EXEC"`
	RunArgs             []string `toml:"run_args" flag:"run-args"`
	CleanupExec         string   `toml:"cleanup_exec" flag:"cleanup-exec" env:"CUSTOM_CLEANUP_EXEC"`
	CleanupArgs         []string `toml:"cleanup_args" flag:"cleanup-args"`
	CleanupExecTimeout  *int     `toml:"cleanup_exec_timeout" flag:"cleanup-exec-timeout" env:"CUSTOM_CLEANUP_EXEC_TIMEOUT"`
	GracefulKillTimeout *int     `toml:"graceful_kill_timeout" flag:"graceful-kill-timeout" env:"CUSTOM_GRACEFUL_KILL_TIMEOUT"`
	ForceKillTimeout    *int     `toml:"force_kill_timeout" flag:"force-kill-timeout" env:"CUSTOM_FORCE_KILL_TIMEOUT"`
}

// Machine is [runners.machine].
type Machine struct {
	MaxGrowthRate          int      `toml:"MaxGrowthRate" flag:"max-growth-rate" env:"MACHINE_MAX_GROWTH_RATE"`
	IdleCount              int      `toml:"IdleCount" flag:"idle-nodes" env:"MACHINE_IDLE_COUNT"`
	IdleScaleFactor        float64  `toml:"IdleScaleFactor" flag:"idle-scale-factor" env:"MACHINE_IDLE_SCALE_FACTOR"`
	IdleCountMin           int      `toml:"IdleCountMin" flag:"idle-count-min" env:"MACHINE_IDLE_COUNT_MIN"`
	IdleTime               int      `toml:"IdleTime" flag:"idle-time" env:"MACHINE_IDLE_TIME"`
	MaxBuilds              int      `toml:"MaxBuilds" flag:"max-builds" env:"MACHINE_MAX_BUILDS"`
	MachineDriver          string   `toml:"MachineDriver" flag:"machine-driver" env:"MACHINE_DRIVER"`
	MachineName            string   `toml:"MachineName" flag:"machine-name" env:"MACHINE_NAME"`
	MachineOptions         []string `toml:"MachineOptions" flag:"machine-options" env:"MACHINE_OPTIONS"`
	MachineOptionsWithName []string `toml:"MachineOptionsWithName" flag:"machine-options-with-name" env:"MACHINE_OPTIONS_WITH_NAME"`
	MaxRemovalAttempts     int      `toml:"MaxRemovalAttempts" flag:"max-removal-attempts" env:"MACHINE_MAX_REMOVAL_ATTEMPTS"`
	OffPeakPeriods         []string `toml:"OffPeakPeriods"`
	OffPeakTimezone        string   `toml:"OffPeakTimezone"`
	OffPeakIdleCount       int      `toml:"OffPeakIdleCount"`
	OffPeakIdleTime        int      `toml:"OffPeakIdleTime"`
	Autoscaling            Opaque   `toml:"autoscaling"`
}

// Referees is [runners.referees].
type Referees struct {
	Metrics *MetricsReferee `toml:"metrics" ns:"metrics"`
}

// MetricsReferee is [runners.referees.metrics].
type MetricsReferee struct {
	PrometheusAddress string   `toml:"prometheus_address" flag:"prometheus-address"`
	QueryInterval     int      `toml:"query_interval" flag:"query-interval"`
	Queries           []string `toml:"queries" flag:"queries"`
}
