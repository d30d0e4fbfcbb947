package alert

// Check tells tests whether a target may lead to an address, as "IP:port".
func Check(private, loopback bool, address string) error {
	return reach{private: private, loopback: loopback}.check(address)
}
