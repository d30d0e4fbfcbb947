// Package browser drives the pages of sallyport-app with a real Chromium. It is a
// module of its own, so that what it needs is in no program.
//
//	cd cmd/sallyport-app/browser && go test ./...
//
// With SALLYPORT_SCREENSHOTS=DIR it leaves a picture of each page there, at the width of
// a desktop and of a phone, light and dark.
package browser
