module netdevns

go 1.19
