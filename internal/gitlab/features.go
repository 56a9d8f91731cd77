package gitlab

// ExecutorFeatures is what an executor can do beyond running scripts.
type ExecutorFeatures struct {
	Containers bool // images, services, their variables, aliases, pull policies and executor_opts
	Shared     bool // jobs share the host (the shell executor)
	Session    bool // a session server is there for terminals
	Proxy      bool // and for services
}

// Supported returns the features to advertise for a runner with executor: exactly what is
// implemented. What is not: vault_secrets, native_steps_integration, and job_inputs (only names
// of inputs are understood, no expressions).
func Supported(executor ExecutorFeatures) Features {
	return Features{
		Variables:               true,
		RawVariables:            true,
		Masking:                 true,
		Refspecs:                true,
		Cache:                   true,
		FallbackCacheKeys:       true,
		Artifacts:               true,
		ArtifactsExclude:        true,
		UploadMultipleArtifacts: true,
		UploadRawArtifacts:      true,
		MultiBuildSteps:         true,
		TraceReset:              true,
		TraceChecksum:           true,
		TraceSize:               true,
		Cancelable:              true,
		CancelGracefully:        true,
		ReturnExitCode:          true,
		TwoPhaseJobCommit:       true,
		Shared:                  executor.Shared,
		Image:                   executor.Containers,
		Services:                executor.Containers,
		ServiceVariables:        executor.Containers,
		ServiceMultipleAliases:  executor.Containers,
		ImageExecutorOpts:       executor.Containers,
		ServiceExecutorOpts:     executor.Containers,
		Session:                 executor.Session,
		Terminal:                executor.Session,
		Proxy:                   executor.Session && executor.Proxy,
	}
}
