{ libPath }: ""
