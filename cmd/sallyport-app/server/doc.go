// Package server is the GitHub App's server: settings in, a listener with every
// surface, and a gate at work behind it.
//
//	s, err := server.New(ctx, settings)
//	err = s.Run(ctx)        // until ctx ends; then it hands back what it holds
//
// It is a package so that the demo starts the very server that people run.
package server
